"""Where things lie in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"

PROTOCOL = ROOT / "protocol" / "farfunc_protocol"
CLIENT = ROOT / "client" / "farfunc"
SERVER = ROOT / "server" / "farfunc_server"
