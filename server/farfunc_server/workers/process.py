"""The worker process: ``python -m farfunc_server.workers.process --fd N``.

It answers one message at a time and keeps nothing that matters, so it can be killed at any
moment. It ends when its socket does, that is with the web process, whatever ended that.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import time

from ..logs import FORMATS, start_logging
from .frames import FrameSocket, NoRoom
from .messages import Ready, from_header

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str] | None = None) -> int:
    """Serve the socket until its other end closes."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(prog="farfunc-worker")
    parser.add_argument("--fd", type=int, required=True, help="the worker's end of the socket pair")
    parser.add_argument("--nice", type=int, default=0, help="how far to stand back for other processes")
    parser.add_argument("--parent", type=int, required=True, help="the process id of the web process")
    parser.add_argument("--log-level", help="what is logged; nothing but warnings where it is not given")
    parser.add_argument("--log-format", choices=FORMATS, default="text", help="how it is logged")
    options = parser.parse_args(arguments)
    if options.log_level is not None:
        start_logging(options.log_level, options.log_format)
        logging.captureWarnings(True)
    _die_with(options.parent)
    # Ctrl-C and a service manager's SIGTERM reach the whole group. The web process decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _be_killed_first()
    os.nice(options.nice)
    # Results and what leads to them are large and new with every call. In pages of 4 KiB handing them out takes the
    # kernel longer than many an operator takes to fill them (64 MiB: 26 ms; in pages of 2 MiB 6 ms).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

    from .handler import Handler  # imports torch, which takes seconds

    with socket.socket(fileno=options.fd) as connection:
        handler = Handler()
        # torch's 300,000 objects stay; a full collection that looks at them all would stop everything for 0.2 s.
        gc.collect()
        gc.freeze()
        frames = FrameSocket(connection)
        frames.send(Ready(handler.torch_version, time.monotonic() - started).to_header())
        with contextlib.suppress(EOFError, ConnectionError):
            while handler.is_sound:
                while handler.has_idle_work and not frames.is_waiting():
                    handler.use_idle_time()
                if not handler.is_sound:
                    break
                try:
                    header, payload = frames.receive()
                except NoRoom as refused:
                    answer, parts = handler.no_room(from_header(refused.header), refused.size)
                else:
                    answer, parts = handler.answer(from_header(header), payload)
                    del payload
                frames.send(answer.to_header(), parts)
                del parts  # a result is not kept until the next request comes
    return 0


def _die_with(parent: int) -> None:
    """Have the kernel kill this process with its parent, even in the middle of an endless operator."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


def _be_killed_first() -> None:
    """When memory runs out the kernel should take a worker, never the web process."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")


if __name__ == "__main__":
    sys.exit(main())
