"""The pages of README and docs/, as their readers use them: examples that run, output that is true, links that lead on.

In a page a fenced block is an example by the first word after its backticks:

``python``
    Runs; blocks of a page share their names. ``python thin`` runs in the environment without
    torch; ``python sketch`` is only shown.
``console``
    Lines after ``$`` are commands for bash, what stands below one is what it prints. A line that
    ends with a backslash, or within single quotes, goes on in the next.
``text`` after a ``python`` block
    What that block prints; an exception ends it, as a traceback would.
``json NAME``
    A file of that name, which the commands after it find.

Blocks of any other kind are only shown. In expected output ``...`` stands for anything, and one
space or new line is like another.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .paths import ROOT

__all__ = ["PAGES", "Block", "Interpreter", "anchors", "blocks", "commands", "links", "matches", "run_command"]

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

ADDRESS = "http://127.0.0.1:8017"
"""The address that the pages use; in a test, that of the test's server."""

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes
    ----------
    kind, rest:
        The first word after the backticks, and what follows it.
    body:
        The text.
    line:
        Where the text begins in its page.
    output:
        For a ``python`` block: the text of the ``text`` block that follows at once.
    """

    kind: str
    rest: str
    body: str
    line: int
    output: str = ""


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    end = 0
    for match in _FENCE.finditer(text):
        kind, _, rest = match["info"].partition(" ")
        line = text.count("\n", 0, match.start("body")) + 1
        if kind == "text" and found and found[-1].kind == "python" and not text[end : match.start()].strip():
            code = found.pop()
            found.append(Block("python", code.rest, code.body, code.line, match["body"]))
        elif (kind, rest) != ("python", "sketch"):
            found.append(Block(kind, rest.strip(), match["body"], line))
        end = match.end()
    return found


def links(page: Path) -> list[str]:
    """The targets of a page's links, those in its examples left out."""
    return _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub names them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(body: str) -> Iterator[tuple[str, str]]:
    """Each command of a ``console`` block, with what it is said to print."""
    command: list[str] = []
    output: list[str] = []
    goes_on = False
    for line in body.splitlines():
        if line.startswith("$ "):
            if command:
                yield "\n".join(command), "\n".join(output)
            command, output = [line[2:]], []
        elif goes_on:
            command.append(line)
        else:
            output.append(line)
        # A quoted text, like a line that ends with a backslash, goes on in the next line.
        goes_on = not output and (line.endswith("\\") or "\n".join(command).count("'") % 2 == 1)
    if command:
        yield "\n".join(command), "\n".join(output)


def matches(expected: str, given: str) -> bool:
    """Whether output is what a page says."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(f"{expected.strip()}\n", f"{given.strip()}\n", flags)


def run_command(command: str, folder: Path, url: str) -> str:
    """What a command prints, in a folder and with the server's address for the page's."""
    bash = shutil.which("bash") or "/bin/sh"
    ran = subprocess.run(
        [bash, "-c", command.replace(ADDRESS, url)],
        cwd=folder,
        env={**os.environ, "no_proxy": "*"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    return ran.stdout.replace(url, ADDRESS)


class Interpreter:
    """A Python that runs blocks one after another, like a reader's session."""

    def __init__(self, python: Path, folder: Path, url: str) -> None:
        self._url = url
        self._process = subprocess.Popen(
            [python, "-P", "-W", "error", Path(__file__).with_name("page_session.py")],
            cwd=folder,
            env={**os.environ, "FARFUNC_URL": url, "no_proxy": "*"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str) -> str:
        """What a block prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(code.replace(ADDRESS, self._url)) + "\n")
        self._process.stdin.flush()
        answer: Any = self._process.stdout.readline()
        assert answer, f"the interpreter ended with status {self._process.wait()}"
        return str(json.loads(answer)).replace(self._url, ADDRESS)

    def __enter__(self) -> Interpreter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
