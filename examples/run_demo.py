"""What `make demo` does: start a server, run both demos against it, stop it.

The first demo runs in an environment without torch, the second in the server's own.
"""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
START_SECONDS = 120
LISTENING = re.compile(r"^farfunc: listening on (http://\S+)$", re.MULTILINE)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """`farfunc serve` on a free port: yields its address once it takes evaluations."""
    log = folder / "server.log"
    command = [Path(sys.executable).with_name("farfunc"), "serve", "--port", "0", "--data-dir", str(folder / "data")]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (found := LISTENING.search(log.read_text(errors="replace"))) or not is_ready(found[1]):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the server did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)
        yield found[1]
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_ready(url: str) -> bool:
    """Whether a worker has loaded torch, so that the first call is not the one that waits for it."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy stands before this machine
    with contextlib.suppress(OSError), opener.open(f"{url}/readyz", timeout=5) as answer:
        return answer.status == 200
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--thin-python", type=Path, required=True, help="an interpreter with the thin client only")
    thin_python = parser.parse_args().thin_python.absolute()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped then, too
    with tempfile.TemporaryDirectory(prefix="farfunc-demo-") as folder:
        print("starting a server ...", flush=True)
        started = time.monotonic()
        with server(Path(folder)) as url:
            print(f"{url} is ready after {time.monotonic() - started:.1f} s\n", flush=True)
            for python, demo in ((thin_python, "demo_panda.py"), (Path(sys.executable), "demo_reference.py")):
                ran = subprocess.run([python, EXAMPLES / demo], env={**os.environ, "FARFUNC_URL": url}, check=False)
                if ran.returncode:
                    print((Path(folder) / "server.log").read_text(errors="replace")[-4000:], file=sys.stderr)
                    return ran.returncode
                print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
