"""What a server is told when it starts: flags of the command line, or ``FARFUNC_*`` variables.

Every setting has both: ``--time-limit 60`` is ``FARFUNC_TIME_LIMIT=60``; the flag wins. The token
is a variable only, since command lines can be read by other users of a machine.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .logs import FORMATS

__all__ = ["STORAGE", "Settings", "add_options", "given_settings", "read_settings"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one server.

    Attributes
    ----------
    host, port:
        Where it listens; port 0 takes a free one.
    uds:
        A Unix domain socket to listen on in place of host and port; None for these.
    data_dir:
        Where functions and compiled plans are kept.
    database:
        A PostgreSQL database, which several servers may share; None for SQLite in the data folder.
    object_store:
        A bucket for functions and results; None for the data folder.
    devices:
        One worker for each: ``cpu``, ``cpu:0``, ``cuda:1``; empty for every GPU, or else one CPU worker.
    threads:
        Threads of a CPU worker; None shares the cores among the workers.
    queue_size:
        How many evaluations may wait.
    time_limit:
        The longest an evaluation may take, waiting included, in seconds; also the default.
    body_limit:
        The largest request body, in bytes.
    memory_limit:
        The most memory of one evaluation, in bytes; None for half of the device's.
    answer_limit:
        The largest answer, in bytes.
    operation_limit:
        The most scalar operations of one evaluation.
    compile_plans:
        Whether hot plans are compiled, by a process of the lowest priority.
    tf32:
        Whether GPUs may round the factors of float32 products to ten bits (TF32), which is faster.
    batching:
        Whether waiting requests of one kind are evaluated together.
    spare:
        Whether a started process waits to take the place of a worker that dies.
    job_keep:
        How long jobs and their results are kept after their end, in seconds, unless a job says otherwise.
    job_lease:
        After so many seconds without a word of the server that runs it a job is another's.
    job_block:
        Seconds of a job's work that are kept together: as much is done again when its server dies.
    webhook_private:
        Whether webhooks may go to loopback and private addresses.
    shutdown_limit:
        Seconds that running evaluations are given when the server is asked to stop.
    log_level:
        ``debug``, ``info``, ``warning`` or ``error``.
    log_format:
        ``text`` or ``json``.
    token:
        The operator's bearer token.
    access:
        ``tokens`` to ask for a token of a tenant; ``off`` to let anyone in, where no other setting names an identity.
    oidc_issuer, oidc_audience:
        The OpenID provider whose tokens are taken, and whom they must be meant for.
    oidc_keys:
        Where its keys are; None to read it in its configuration.
    oidc_tenant_claim, oidc_role_claim:
        The claims that tell the tenant and the role; None for what the members of tenants are.
    behind_tls:
        Whether a proxy that speaks TLS stands before it.
    insecure:
        Whether it may listen beyond this machine without either.
    stop_with_stdin:
        Whether to stop when the standard input ends, that is with the process that started the server.
    temporary:
        Whether to remove the data folder at the end.
    """

    host: str = "127.0.0.1"
    port: int = 8017
    uds: Path | None = None
    data_dir: Path = Path("farfunc-data")
    database: str | None = field(default=None, repr=False)
    object_store: str | None = None
    devices: tuple[str, ...] = ()
    threads: int | None = None
    queue_size: int = 256
    time_limit: float = 300.0
    body_limit: int = 1 << 30
    memory_limit: int | None = None
    answer_limit: int = 16 << 30
    operation_limit: float = 1e18
    compile_plans: bool = True
    tf32: bool = False
    batching: bool = True
    spare: bool = True
    job_keep: float = 7 * 86400.0
    job_lease: float = 15.0
    job_block: float = 1.0
    webhook_private: bool = False
    shutdown_limit: float = 30.0
    log_level: str = "info"
    log_format: str = "text"
    token: str | None = field(default=None, repr=False)
    access: str = "off"
    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    oidc_keys: str | None = None
    oidc_tenant_claim: str | None = None
    oidc_role_claim: str | None = None
    behind_tls: bool = False
    insecure: bool = False
    stop_with_stdin: bool = False
    temporary: bool = False

    @property
    def knows_identities(self) -> bool:
        """Whether it makes a difference who asks."""
        return self.token is not None or self.oidc_issuer is not None or self.access == "tokens"


def _port(text: str) -> int:
    if not 0 <= (port := int(text)) < 65536:
        raise ValueError
    return port


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise ValueError
    return count


def _seconds(text: str) -> float:
    if not 0 < (seconds := float(text)) < 1e6:
        raise ValueError
    return seconds


def _positive(text: str) -> float:
    if not (number := float(text)) > 0:
        raise ValueError
    return number


def _bytes(text: str) -> int:
    """A size: ``1048576``, ``1M``, ``1.5G``.

    >>> _bytes("2M")
    2097152
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None or not (size := int(float(found[1]) * _UNITS[found[2].upper()])):
        raise ValueError
    return size


def _devices(text: str) -> tuple[str, ...]:
    devices = tuple(part.strip() for part in text.split(",") if part.strip())
    if len(set(devices)) != len(devices) or not all(re.fullmatch(r"(cpu|cuda)(:\d{1,3})?", name) for name in devices):
        raise ValueError
    return devices


def _switch(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.strip().lower()]


def _access(text: str) -> str:
    if text not in ("off", "tokens"):
        raise ValueError
    return text


def _level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError
    return text.lower()


def _log_format(text: str) -> str:
    if text.lower() not in FORMATS:
        raise ValueError
    return text.lower()


# (setting, how it is read, what it may be, what it does)
_OPTIONS: list[tuple[str, Callable[[str], Any], str, str]] = [
    ("host", str, "an address", "address to listen on; beyond 127.0.0.1 see --behind-tls"),
    ("port", _port, "a port from 0 to 65535", "port to listen on; 0 takes a free one"),
    ("uds", Path, "a path", "Unix domain socket to listen on instead, for programs of this user"),
    ("data_dir", Path, "a folder", "where functions are kept"),
    ("database", str, "an address", "PostgreSQL to share with other servers; with a password, use the variable"),
    ("object_store", str, "s3://bucket/prefix", "bucket for functions; AWS_ENDPOINT, AWS_ACCESS_KEY_ID, ... say how"),
    ("devices", _devices, "a list such as cpu or cuda:0,cuda:1", "one worker for each; default: every GPU, else cpu"),
    ("threads", _count, "a positive integer", "threads of a CPU worker; default: the cores, shared"),
    ("queue_size", _count, "a positive integer", "evaluations that may wait"),
    ("time_limit", _seconds, "a number of seconds", "the longest an evaluation may take"),
    ("body_limit", _bytes, "a size such as 512M", "the largest request body"),
    ("memory_limit", _bytes, "a size such as 8G", "memory of one evaluation; default: half of the device's"),
    ("answer_limit", _bytes, "a size such as 8G", "the largest answer"),
    ("operation_limit", _positive, "a positive number", "scalar operations of one evaluation"),
    ("compile_plans", _switch, "true or false", "compile plans that are used often, in the background"),
    ("tf32", _switch, "true or false", "let GPUs round the factors of float32 products to ten bits, which is faster"),
    ("batching", _switch, "true or false", "evaluate waiting requests of one kind together, where that is faster"),
    ("spare", _switch, "true or false", "keep a started process to replace a worker that dies"),
    ("job_keep", _seconds, "a number of seconds", "how long a job and its result are kept after its end"),
    ("job_lease", _seconds, "a number of seconds", "without a word of its server for so long a job is another's"),
    ("job_block", _seconds, "a number of seconds", "work of a job that is kept together, and lost with its server"),
    ("webhook_private", _switch, "true or false", "let webhooks go to loopback and private addresses"),
    ("shutdown_limit", _seconds, "a number of seconds", "what running evaluations are given at a shutdown"),
    ("access", _access, "off or tokens", "ask for tokens, which `farfunc tokens create` makes"),
    ("oidc_issuer", str, "an address", "OpenID provider whose tokens (JWT) are taken"),
    ("oidc_audience", str, "a name", "what its tokens must have as aud"),
    ("oidc_keys", str, "an address", "where its keys (JWKS) are; default: as its configuration says"),
    ("oidc_tenant_claim", str, "a name", "claim that names the tenant; default: the members of tenants tell"),
    ("oidc_role_claim", str, "a name", "claim that names the role; default: member, or as the members of tenants tell"),
    ("behind_tls", _switch, "true or false", "a proxy that speaks TLS stands before it"),
    ("insecure", _switch, "true or false", "listen beyond this machine without identities, or without TLS"),
    ("log_level", _level, "debug, info, warning or error", "what is logged"),
    ("log_format", _log_format, "text or json", "how it is logged: for people or for programs"),
]


STORAGE = ("data_dir", "database")
"""The settings that commands beside a server take, too."""


def add_options(parser: argparse.ArgumentParser, names: Sequence[str] | None = None) -> None:
    """Have a parser take settings; all of them, if they are not named."""
    defaults = Settings()
    for name, read, _, description in _OPTIONS:
        if names is not None and name not in names:
            continue
        default = getattr(defaults, name)
        shown = "" if default in (None, ()) else f" [{default}]"
        # A switch without a value is on.
        alone: dict[str, Any] = {"nargs": "?", "const": "true"} if read is _switch else {}
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar=name.rpartition("_")[2].upper(),
            help=f"{description}{shown}; FARFUNC_{name.upper()}",
            **alone,
        )


def given_settings(
    parser: argparse.ArgumentParser, options: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, Any]:
    """What flags, and where there is none variables, say of the settings that a parser takes."""
    given: dict[str, Any] = {}
    for name, read, meaning, _ in _OPTIONS:
        if name not in options:
            continue
        for text, source in (
            (environment.get(f"FARFUNC_{name.upper()}") or None, f"FARFUNC_{name.upper()}"),
            (options[name], f"--{name.replace('_', '-')}"),
        ):
            if text is not None:
                given[name] = _read(parser, read, text, source, meaning)
    return given


def read_settings(
    arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ, *, prog: str = "farfunc serve"
) -> Settings:
    """Read flags and variables; exits with one sentence for a wrong one, as argparse does.

    >>> read_settings(["--port", "0"], {"FARFUNC_PORT": "9", "FARFUNC_TIME_LIMIT": "5"}).time_limit
    5.0
    """
    parser = argparse.ArgumentParser(
        prog=prog, description="Start a server that differentiates functions with torch.func.", allow_abbrev=False
    )
    add_options(parser)
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop when the standard input ends")
    parser.add_argument("--temporary", action="store_true", help="remove the data folder at the end")
    options = vars(parser.parse_args(arguments))
    return Settings(
        **given_settings(parser, options, environment),
        token=environment.get("FARFUNC_TOKEN") or None,
        stop_with_stdin=options["stop_with_stdin"],
        temporary=options["temporary"],
    )


def _read(parser: argparse.ArgumentParser, read: Callable[[str], Any], text: str, source: str, meaning: str) -> Any:
    try:
        return read(text)
    except (ValueError, KeyError, OverflowError):
        parser.error(f"{source} must be {meaning}, not {text!r}")
