"""README and docs/: every example runs and prints what the page says, every link leads somewhere."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import documents
from support.paths import CLIENT, PROTOCOL, ROOT, SERVER

_WITH_EXAMPLES = [
    page for page in documents.PAGES if any(block.kind in ("python", "console") for block in documents.blocks(page))
]
_FENCE = re.compile(r"^```", re.MULTILINE)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _generator():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", _WITH_EXAMPLES, ids=_name)
def test_the_examples_run_and_print_what_the_page_says(page, server_url, thin_python, tmp_path):
    if shutil.which("curl") is None and any(block.kind == "console" for block in documents.blocks(page)):
        pytest.skip("the page's commands need curl")
    with ExitStack() as stack:
        sessions: dict[str, documents.Interpreter] = {}
        for block in documents.blocks(page):
            place = f"{_name(page)}:{block.line}"
            if block.kind == "json" and block.rest:
                (tmp_path / block.rest).write_text(block.body, encoding="utf-8")
            elif block.kind == "console":
                for command, expected in documents.commands(block.body):
                    given = documents.run_command(command, tmp_path, server_url)
                    assert documents.matches(expected, given), f"{place}\n$ {command}\nprints\n{given}"
            elif block.kind == "python":
                if block.rest not in sessions:
                    python = thin_python if block.rest == "thin" else Path(sys.executable)
                    session = documents.Interpreter(python, tmp_path, server_url)
                    sessions[block.rest] = stack.enter_context(session)
                given = sessions[block.rest].run(block.body)
                assert documents.matches(block.output, given), f"{place}\n{block.body}\nprints\n{given}"


@pytest.mark.parametrize("page", documents.PAGES, ids=_name)
def test_the_links_lead_somewhere(page):
    for target in documents.links(page):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in documents.anchors(file), target


def test_every_page_is_reached_from_the_first():
    index = ROOT / "docs" / "index.md"
    reached = {(index.parent / target.partition("#")[0]).resolve() for target in documents.links(index)}
    pages = {page for page in documents.PAGES if page.parent == index.parent}
    assert pages - reached == {index}, "docs/index.md lists every page"


@pytest.mark.parametrize("name", ["ops.md", "errors.md", "numpy-functions.md"])
def test_the_generated_pages_are_current(name):
    pages = _generator().PAGES
    assert set(pages) == {"ops.md", "errors.md", "numpy-functions.md"}
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == pages[name](), "run python docs/generate.py"


@pytest.mark.parametrize("page", documents.PAGES, ids=_name)
def test_fences_are_closed(page):
    assert len(_FENCE.findall(page.read_text(encoding="utf-8"))) % 2 == 0


def test_the_settings_page_names_every_setting():
    from farfunc_server.settings import Settings

    text = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    internal = {"stop_with_stdin", "temporary"}
    missing = [name for name in Settings.__dataclass_fields__ if f"FARFUNC_{name.upper()}" not in text]
    assert set(missing) == internal
    for name in internal:
        assert f"--{name.replace('_', '-')}" in text


def test_the_format_page_names_every_limit_and_rule():
    from farfunc_protocol.limits import Limits
    from farfunc_protocol.validate import RULES

    text = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    assert [name for name in Limits.__dataclass_fields__ if f"`{name}`" not in text] == []
    assert [rule for rule in RULES if f"`{rule}`" not in text] == []


def test_the_http_page_names_every_route():
    from farfunc_server.routes import evaluation, functions, job_events, job_results, jobs, service, uploads

    text = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    modules = (evaluation, functions, job_events, job_results, jobs, service, uploads)
    routes = [route for module in modules for route in module.router.routes]
    assert [route.path for route in routes if f"`{route.path}`" not in text] == []


@pytest.mark.parametrize("package", [PROTOCOL, CLIENT, SERVER], ids=lambda package: package.name)
def test_the_architecture_page_names_every_module(package):
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text[text.index(f"## {package.relative_to(ROOT)}") :].split("\n## ")[0]
    modules = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    named = {name for row in modules for name in re.findall(r"`(\w+)/?`", row)}
    found = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - named == {"__init__", "_version"} & found
