"""The public names, and which server a call goes to."""

import inspect
import os
import subprocess
import sys
import threading

import httpx
import numpy as np
import pytest

import farfunc
from farfunc import _default_address, _default_client, _local_server
from farfunc._address import Address

PUBLIC = [
    "AsyncClient",
    "AsyncJob",
    "Client",
    "ConnectionFailed",
    "DataDependentError",
    "DeadlineUnreachable",
    "DevicesUnavailable",
    "DigestMismatch",
    "EvaluationError",
    "FarfuncError",
    "Forbidden",
    "ForwardModeUnsupported",
    "FunctionHandle",
    "FunctionInfo",
    "FunctionNotFound",
    "IdempotencyConflict",
    "InvalidArray",
    "InvalidGraph",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobConflict",
    "JobInfo",
    "JobNotFound",
    "JobUnfinished",
    "LimitExceeded",
    "MutationError",
    "ProtocolError",
    "ServerBusy",
    "ServerError",
    "StorageFailed",
    "TimeLimitExceeded",
    "TooManyRequests",
    "TraceError",
    "TransformError",
    "TransformIndexError",
    "TransformTypeError",
    "TransformValueError",
    "Unauthorized",
    "UnsupportedOperator",
    "UnsupportedVersion",
    "UploadConflict",
    "UploadNotFound",
    "WorkerDied",
    "__version__",
    "connect",
    "current_client",
    "delete",
    "describe",
    "function",
    "functional_call",
    "functions",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "job",
    "jobs",
    "jvp",
    "linearize",
    "numpy",
    "register",
    "stack_module_state",
    "submit",
    "vjp",
    "vmap",
]
TRANSFORMS = ["grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "vjp", "vmap"]
VERBS = ["delete", "describe", "function", "functions", "register"]


class TestNames:
    def test_they_are_these(self):
        assert farfunc.__all__ == PUBLIC == sorted(PUBLIC)

    def test_each_is_there_and_has_a_docstring(self):
        for name in PUBLIC:
            thing = getattr(farfunc, name)
            if not isinstance(thing, str):
                assert inspect.getdoc(thing), name

    def test_public_methods_have_docstrings_too(self):
        for cls in (farfunc.Client, farfunc.AsyncClient, farfunc.FunctionHandle, farfunc.FunctionInfo):
            for name, member in inspect.getmembers(cls):
                if not name.startswith("_") and (callable(member) or isinstance(member, property)):
                    assert inspect.getdoc(member), f"{cls.__name__}.{name}"

    def test_a_name_that_is_not_there(self):
        with pytest.raises(AttributeError, match="module 'farfunc' has no attribute 'jacobian'"):
            farfunc.jacobian  # noqa: B018

    def test_both_clients_have_the_same_verbs(self):
        def verbs(cls):
            return {
                name: list(inspect.signature(member).parameters)
                for name, member in inspect.getmembers(cls, inspect.isfunction)
                if not name.startswith("_")
            }

        assert verbs(farfunc.Client) == verbs(farfunc.AsyncClient)
        assert set(TRANSFORMS) | set(VERBS) <= verbs(farfunc.Client).keys()

    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_a_handle_takes_what_the_transform_takes_after_the_function(self, name):
        ours = list(inspect.signature(getattr(farfunc.FunctionHandle, name)).parameters.values())[1:]
        function, *expected = inspect.signature(getattr(farfunc, name)).parameters.values()
        assert function.name == "func"
        assert ours == [parameter for parameter in expected if not parameter.name.startswith("_")]

    @pytest.mark.parametrize("name", VERBS)
    def test_the_package_s_verbs_are_the_client_s(self, name):
        _, *expected = inspect.signature(getattr(farfunc.Client, name)).parameters
        assert list(inspect.signature(getattr(farfunc, name)).parameters) == expected


def test_the_import_leaves_for_later_what_takes_long():
    script = "import sys, farfunc; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    later = {"torch", "farfunc_protocol.ops", "farfunc.numpy", "farfunc._numpy", "farfunc._local_server"}
    assert later.isdisjoint(ran.stdout.split())


@pytest.fixture
def undecided(monkeypatch):
    """Nothing is connected or configured, and a private server would be a stand-in."""
    monkeypatch.setattr(_default_address, "_connected", None)
    monkeypatch.setattr(_default_client, "_clients", type(_default_client._clients)())
    for name in ("FARFUNC_URL", "FARFUNC_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    private = type("Private", (), {"address": Address("http://127.0.0.1:7", "private")})
    monkeypatch.setattr(_local_server, "private_server", lambda: private)


@pytest.fixture
def greeted(monkeypatch):
    """connect() finds a server wherever it looks."""
    monkeypatch.setattr(farfunc.Client, "greet", lambda self: None)


@pytest.mark.usefixtures("undecided", "greeted")
class TestPrecedence:
    def test_connect_wins_over_the_variable_over_the_private_server(self, monkeypatch):
        assert farfunc.current_client().url == "http://127.0.0.1:7"
        monkeypatch.setenv("FARFUNC_URL", "http://configured:1")
        assert farfunc.current_client().url == "http://configured:1"
        client = farfunc.connect("http://connected:1")
        assert farfunc.current_client() is client

    def test_a_closed_connection_counts_no_more(self, monkeypatch):
        monkeypatch.setenv("FARFUNC_URL", "http://configured:1")
        with farfunc.connect("http://connected:1"):
            assert farfunc.current_client().url == "http://connected:1"
        assert farfunc.current_client().url == "http://configured:1"

    def test_the_last_connection_counts(self):
        farfunc.connect("http://one:1")
        two = farfunc.connect("http://two:1", timeout=7)
        assert farfunc.current_client() is two
        two.close()
        three = farfunc.connect("http://two:1", timeout=8)
        assert farfunc.current_client() is three

    def test_the_variable_is_read_at_each_call(self, monkeypatch):
        monkeypatch.setenv("FARFUNC_URL", "http://one:1")
        one = farfunc.current_client()
        assert farfunc.current_client() is one
        monkeypatch.setenv("FARFUNC_URL", "http://two:1")
        assert farfunc.current_client().url == "http://two:1"
        monkeypatch.setenv("FARFUNC_URL", "http://one:1")
        assert farfunc.current_client() is one
        monkeypatch.setenv("FARFUNC_TOKEN", "new")
        assert farfunc.current_client().address == Address("http://one:1", "new")

    def test_many_configurations_are_not_kept_for_ever(self, monkeypatch):
        for port in range(1, 100):
            monkeypatch.setenv("FARFUNC_URL", f"http://many:{port}")
            farfunc.current_client()
        assert len(_default_client._clients) == _default_client._REMEMBERED

    def test_an_empty_variable_is_none(self, monkeypatch):
        monkeypatch.setenv("FARFUNC_URL", "")
        assert farfunc.current_client().url == "http://127.0.0.1:7"

    def test_a_variable_that_is_no_url(self, monkeypatch):
        monkeypatch.setenv("FARFUNC_URL", "gpu:8017")
        with pytest.raises(farfunc.ConnectionFailed, match="'gpu:8017' is not the URL"):
            farfunc.jacfwd(np.sin)(np.zeros(2))

    @pytest.mark.parametrize("cls", [farfunc.Client, farfunc.AsyncClient])
    def test_a_client_without_a_url_goes_where_calls_without_a_client_go(self, cls, monkeypatch):
        assert cls().address == Address("http://127.0.0.1:7", "private")
        monkeypatch.setenv("FARFUNC_TOKEN", "of-the-pool")
        assert cls().address.token == "private"
        monkeypatch.setenv("FARFUNC_URL", "http://configured:1")
        assert cls().address == Address("http://configured:1", "of-the-pool")
        farfunc.connect("http://connected:1", token="mine")
        assert cls().address == Address("http://connected:1", "mine")
        assert cls(token="other").address == Address("http://connected:1", "other")

    @pytest.mark.parametrize("cls", [farfunc.Client, farfunc.AsyncClient])
    def test_a_client_with_a_url_takes_the_token_of_the_variable(self, cls, monkeypatch):
        monkeypatch.setenv("FARFUNC_TOKEN", "of-the-pool")
        assert cls("http://pool:1").address.token == "of-the-pool"
        assert cls("http://pool:1", token="mine").address.token == "mine"
        assert cls("http://pool:1", token="").address.token is None

    def test_threads_get_one_client(self, monkeypatch):
        monkeypatch.setenv("FARFUNC_URL", "http://configured:1")
        barrier, found = threading.Barrier(8), []

        def work():
            barrier.wait()
            found.append(farfunc.current_client())

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, found))) == 1


@pytest.mark.usefixtures("undecided")
def test_a_connection_that_fails_changes_nothing(monkeypatch):
    monkeypatch.setenv("FARFUNC_URL", "http://configured:1")
    monkeypatch.setattr(
        httpx.HTTPTransport, "handle_request", lambda *_: (_ for _ in ()).throw(httpx.ConnectError("no"))
    )
    with pytest.raises(farfunc.ConnectionFailed, match=r"no farfunc server answers at http://127\.0\.0\.1:9"):
        farfunc.connect("http://127.0.0.1:9")
    assert farfunc.current_client().url == "http://configured:1"


def test_without_the_server_extra_one_sentence_says_what_was_looked_for(monkeypatch):
    monkeypatch.setattr(_default_address, "_connected", None)
    monkeypatch.setattr(_local_server, "_server", None)
    monkeypatch.setattr(_local_server, "can_start", lambda: False)
    monkeypatch.delenv("FARFUNC_URL", raising=False)
    with pytest.raises(farfunc.ConnectionFailed) as caught:
        farfunc.jacfwd(np.sin)(np.zeros(2))
    for words in ("no farfunc.connect(url) is in force", "FARFUNC_URL is not set", "server extra is not installed"):
        assert words in caught.value.detail
    for words in ("FARFUNC_URL=http://", "farfunc serve", "pip install 'farfunc[server]'"):
        assert words in caught.value.remedy


def test_a_client_says_where_it_goes():
    client = farfunc.Client("http://gpu:8017/", token="s3cret")
    assert repr(client) == "<farfunc client of http://gpu:8017>"
    client.close()
    assert (repr(client), client.is_closed) == ("<farfunc client of http://gpu:8017, closed>", True)
    assert repr(farfunc.AsyncClient("http://gpu:8017")) == "<farfunc client of http://gpu:8017, asynchronous>"


def test_a_closed_client_says_so():
    with farfunc.Client("http://127.0.0.1:9") as client:
        pass
    for call in (
        lambda: client.jacfwd(np.sin)(np.zeros(2)),
        client.functions,
        lambda: client.register(np.sin, np.zeros(2)),
    ):
        with pytest.raises(farfunc.ConnectionFailed, match="has been closed"):
            call()


def test_a_lock_that_a_thread_held_at_a_fork_does_not_stop_the_child(monkeypatch):
    monkeypatch.setattr(_default_address, "_connected", None)
    monkeypatch.setenv("FARFUNC_URL", "http://configured:1")
    with _default_client._lock, _local_server._lock:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with _local_server._lock:
                    status = 0 if farfunc.current_client().url == "http://configured:1" else 2
            finally:
                os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
