"""The architecture, held by a scan of the sources: who may import what, and what may not occur at all."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.imports import Source, cycles, sources
from support.paths import CLIENT, PROTOCOL, ROOT, SERVER

_PROTOCOL, _CLIENT, _SERVER = sources(PROTOCOL), sources(CLIENT), sources(SERVER)
_ALL = [*_PROTOCOL, *_CLIENT, *_SERVER]

_MAX_LINES = 600

# Routes to evaluation, outermost first. A module of one layer imports from its own and from those
# after it. The server's other modules (settings, store, ...) may be imported by all and import none of these.
_SERVER_LAYERS = (
    ("__main__", "commands", "serving", "connections", "app", "routes"),
    ("jobs",),
    ("scheduling",),
    ("workers",),
    ("evaluation",),
)
_TORCH_IN_SERVER = ("workers", "evaluation")
_TORCH_IN_CLIENT = ("_torch",)

# Nothing that arrives is executed as code. What could do so, and what to do instead:
_FORBIDDEN_IMPORTS = {
    "pickle": "unpickling executes code",
    "_pickle": "unpickling executes code",
    "cloudpickle": "unpickling executes code",
    "dill": "unpickling executes code",
    "joblib": "it unpickles",
    "shelve": "it unpickles",
    "marshal": "it loads code",
    "multiprocessing": "its queues, pipes and spawned processes unpickle; use subprocess and a socket pair",
    "concurrent.futures.process": "it unpickles",
    "runpy": "it executes files",
    "code": "it executes text",
    "importlib.machinery": "it loads code by name",
    "torch.hub": "it loads code",
    "torch.package": "it loads code",
    "torch.serialization": "it unpickles",
}
_FORBIDDEN_BUILTINS = {"eval", "exec", "compile", "__import__", "globals", "breakpoint"}
_FORBIDDEN_CALLS = {
    "builtins.eval",
    "builtins.exec",
    "importlib.import_module",
    "importlib.__import__",
    "os.system",
    "os.popen",
    "torch.load",
    "torch.save",
    "torch.jit.load",
    "torch.export.load",
    "torch.ops.load_library",
    "torch.classes.load_library",
    "types.FunctionType",
    "types.CodeType",
}
_FORBIDDEN_KEYWORDS = {"allow_pickle": "it unpickles", "shell": "it executes text"}

# getattr(an imported module, a name that is not a literal) is a look-up of names in a module. It is allowed
# where every name comes from a table of ours. Path below the repository -> which table.
_TABLE_LOOK_UPS = {
    "client/farfunc/__init__.py": "names that stand in the file",
    "client/farfunc/_torch/capture.py": "the schemas of the op table",
    "client/farfunc/_torch/conversion.py": "DTYPES",
    "client/farfunc/_torch/plans.py": "the names of operators that the user's own function has called",
    "server/farfunc_server/evaluation/corrections.py": "names that stand in the file",
    "server/farfunc_server/evaluation/operators.py": "the schemas of the op table",
    "server/farfunc_server/evaluation/tensors.py": "DTYPES",
}


def _relative(source: Source) -> str:
    return source.path.relative_to(ROOT).as_posix()


def _place(source: Source, line: int) -> str:
    return f"{_relative(source)}:{line}"


def _layer(parts: list[str]) -> int | None:
    return next((level for level, names in enumerate(_SERVER_LAYERS) if parts and parts[0] in names), None)


def _breaches(package: list[Source], allowed: set[str], torch_in: tuple[str, ...] = ()) -> Iterator[str]:
    for source in package:
        own = allowed | ({"torch", "functorch"} if source.parts and source.parts[0] in torch_in else set())
        for found in source.imports():
            if found.top not in own and found.top not in sys.stdlib_module_names:
                yield f"{_place(source, found.line)} imports {found.module}"


def test_protocol_imports_the_standard_library_and_numpy():
    # ml_dtypes, where the user has it, gives NumPy a bfloat16. It is looked for, never required.
    assert not list(_breaches(_PROTOCOL, {"farfunc_protocol", "numpy", "ml_dtypes"}))


def test_client_imports_protocol_numpy_httpx_and_torch_in_its_torch_front_end_only():
    # backports.zstd is an extra, looked for where a user asks for compression; OpenTelemetry is the user's own, and
    # imported where the user has (tests/e2e/test_traces.py).
    allowed = {"farfunc", "farfunc_protocol", "numpy", "httpx", "backports", "compression", "opentelemetry"}
    assert not list(_breaches(_CLIENT, allowed, _TORCH_IN_CLIENT))


def test_server_imports_neither_the_client_nor_torch_outside_its_workers():
    allowed = {
        "farfunc_server",
        "farfunc_protocol",
        "numpy",
        "fastapi",
        "fastapi_offline",
        "starlette",
        "uvicorn",
        "pydantic",
        "pydantic_core",
        "pydantic_settings",
        "prometheus_client",
        "anyio",
        "backports",  # zstd, which Python 3.14 has itself
        "compression",
        "httpx",  # which the client brings: webhooks, and the keys of an OpenID provider
        "sqlalchemy",
        "alembic",
        "obstore",
        "jwt",
        "opentelemetry",  # an extra, imported where traces are asked for
    }
    assert not list(_breaches(_SERVER, allowed, _TORCH_IN_SERVER))


def test_server_layers_import_downwards_only():
    breaches = []
    for source in _SERVER:
        own = _layer(source.parts)
        for found in source.imports():
            if found.top != "farfunc_server":
                continue
            other = _layer(found.module.split(".")[1:])
            if other is not None and (own is None or other < own):
                breaches.append(f"{_place(source, found.line)} imports {found.module}, which stands above it")
            if own == 0 and other == len(_SERVER_LAYERS) - 1:
                breaches.append(f"{_place(source, found.line)} imports {found.module}: the web process never evaluates")
    assert not breaches


@pytest.mark.parametrize("package", [_PROTOCOL, _CLIENT, _SERVER], ids=["protocol", "client", "server"])
def test_imports_run_one_way(package):
    """No module needs one that needs it; imports inside functions count."""
    assert not [" -> ".join(ring) for ring in cycles(package)]


def test_the_scan_sees_a_ring(tmp_path):
    package = tmp_path / "p"
    texts = {
        "__init__": "from .a import f",
        "a": "from .sub.inner import g",
        "b": "def f():\n    from . import a",
        "sub/__init__": "from .. import b",
        "sub/inner": "from . import other",
        "sub/other": "from .inner import g",
        "sub/typed": "import typing\nif typing.TYPE_CHECKING:\n    from .typing import g",
        "sub/typing": "from . import typed",
        "typed": "import typing\nif typing.TYPE_CHECKING:\n    from . import typing",
        "typing": "from . import typed",
    }
    for name, text in texts.items():
        path = (package / name).with_suffix(".py")
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    found = [set(ring) for ring in cycles(sources(package))]
    rings = [["p.a", "p.b", "p.sub"], ["p.sub.inner", "p.sub.other"], ["p.typed", "p.typing"]]
    assert sorted(map(sorted, found)) == rings


def _loaded_by(statement: str, *modules: str) -> list[str]:
    script = f"import sys; {statement}; print(*[m for m in {modules!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


@pytest.mark.parametrize("module", ["app", "__main__"])
def test_the_web_process_never_loads_torch(module):
    if not (SERVER / f"{module}.py").exists():
        pytest.skip(f"farfunc_server.{module} is not written yet")
    assert _loaded_by(f"import farfunc_server.{module}", "torch") == []


def test_the_server_package_itself_loads_nothing_heavy():
    assert _loaded_by("import farfunc_server", "torch", "fastapi", "uvicorn", "pydantic", "numpy") == []


def test_importing_the_client_loads_neither_torch_nor_scipy():
    assert _loaded_by("import farfunc", "torch", "scipy", "pydantic", "farfunc_server") == []


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return f"{base}.{node.attr}" if base else None
    return None


def _imported(source: Source) -> dict[str, str]:
    """What each imported name of a file stands for: ``{"np": "numpy", "load": "torch.load"}``."""
    names = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                top = name.name.partition(".")[0]
                names[name.asname or top] = name.name if name.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                names[name.asname or name.name] = f"{node.module}.{name.name}"
    return names


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant)


def _code_loading(source: Source) -> Iterator[str]:
    """Every place of a file where something could be executed that is not this program's own text."""
    names = _imported(source)
    defined = {node.name for node in ast.walk(source.tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(source.tree):
        match node:
            case ast.Import() | ast.ImportFrom(level=0):
                base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                for full in (base + name.name for name in node.names):
                    reasons = [why for what, why in _FORBIDDEN_IMPORTS.items() if f"{full}.".startswith(f"{what}.")]
                    if reasons or full in _FORBIDDEN_CALLS:
                        yield f"{_place(source, node.lineno)} imports {full}: {'; '.join(reasons) or 'it loads code'}"
            case ast.Name(id=name) if name in _FORBIDDEN_BUILTINS - defined:
                yield f"{_place(source, node.lineno)} uses {name}"
            case ast.Attribute() if dotted := _dotted(node):
                head, _, rest = dotted.partition(".")
                full = f"{names.get(head, head)}.{rest}"
                if full in _FORBIDDEN_CALLS or full in _FORBIDDEN_IMPORTS:
                    yield f"{_place(source, node.lineno)} uses {full}"
            case ast.Subscript() if _dotted(node.value) == "sys.modules" and not _is_literal(node.slice):
                yield f"{_place(source, node.lineno)} looks a module up by name"
            case ast.keyword(arg=str(word), value=value) if word in _FORBIDDEN_KEYWORDS:
                if not (isinstance(value, ast.Constant) and value.value is False):
                    yield f"{_place(source, value.lineno)} passes {word}: {_FORBIDDEN_KEYWORDS[word]}"
            case ast.Call(func=ast.Name(id="getattr"), args=[owner, name, *_]) if not _is_literal(name):
                head = (_dotted(owner) or "").partition(".")[0]
                module = names.get(head, "farfunc").partition(".")[0]
                if not module.startswith("farfunc") and _relative(source) not in _TABLE_LOOK_UPS:
                    yield (
                        f"{_place(source, node.lineno)} looks a name up in {_dotted(owner)}: "
                        "if every name comes from a table of ours, say so in _TABLE_LOOK_UPS"
                    )


@pytest.mark.parametrize("package", [_PROTOCOL, _CLIENT, _SERVER], ids=["protocol", "client", "server"])
def test_nothing_that_arrives_is_executed_as_code(package):
    assert not [breach for source in package for breach in _code_loading(source)]


def test_the_exceptions_to_that_rule_exist():
    if not (SERVER / "evaluation").exists():
        pytest.skip("farfunc_server.evaluation is not written yet")
    assert not [path for path in _TABLE_LOOK_UPS if not (ROOT / path).exists()]


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import multiprocessing.connection as c",
        "eval('1')",
        "f = exec",
        "import torch\ntorch.load(x)",
        "import torch as t\nt.load(x)",
        "from torch import load",
        "from importlib import import_module",
        "import importlib\nimportlib.import_module(n)",
        "import torch\ngetattr(torch.ops.aten, name)",
        "from torch import ops\ngetattr(ops.aten, name)",
        "import sys\nsys.modules[name]",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "__import__('os')",
    ],
)
def test_the_scan_sees(text, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "m.py").write_text(text)
    assert list(_code_loading(Source(tmp_path / "m.py", "m")))


@pytest.mark.parametrize(
    "text",
    [
        '"""pickle, eval(x), torch.load"""',
        "model.eval()",
        "import re\nre.compile('a')",
        "getattr(x, name)",
        "executor = 1",
    ],
)
def test_the_scan_passes(text, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "m.py").write_text(text)
    assert not list(_code_loading(Source(tmp_path / "m.py", "m")))


def _own_files() -> list[Source]:
    return [*_ALL, *(source for folder in ("tests", "examples", "benchmarks") for source in sources(ROOT / folder))]


def test_files_are_short():
    lengths = {_place(source, len(source.path.read_text(encoding="utf-8").splitlines())) for source in _own_files()}
    assert not [place for place in lengths if int(place.rpartition(":")[2]) > _MAX_LINES]


def test_no_file_is_a_drawer():
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert not [str(s.path) for s in _own_files() if s.path.stem.strip("_") in drawers or s.path.parent.name in drawers]


def test_the_top_folders_are_not_packages():
    assert not [package for package in (PROTOCOL, CLIENT, SERVER) if (package.parent / "__init__.py").exists()]
