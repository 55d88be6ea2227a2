"""Which devices this machine has, asked without torch."""

from __future__ import annotations

import os
import re
import subprocess

__all__ = ["find_devices", "threads_each"]


def find_devices() -> tuple[str, ...]:
    """Every GPU that the driver shows to this process, or else the CPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        count = len([part for part in visible.split(",") if part.strip() not in ("", "-1")])
    else:
        count = _count_gpus()
    return tuple(f"cuda:{i}" for i in range(count)) or ("cpu",)


def _count_gpus() -> int:
    try:
        ran = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return len(re.findall(r"^GPU \d+:", ran.stdout, re.MULTILINE)) if ran.returncode == 0 else 0


def threads_each(devices: tuple[str, ...]) -> int:
    """Threads for each CPU worker, when they share the cores that this process may use."""
    cpus = sum(device.startswith("cpu") for device in devices)
    return max(1, len(os.sched_getaffinity(0)) // max(1, cpus))
