"""What the source files of a package import, read from their syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

__all__ = ["Import", "Source", "cycles", "sources"]


@dataclass(frozen=True)
class Import:
    """One imported module, absolute: ``torch.func`` for ``from torch.func import jacfwd``.

    ``from . import plans`` in ``farfunc_server.evaluation`` is ``farfunc_server.evaluation.plans``.
    """

    module: str
    line: int
    only_typed: bool = False
    """Whether it stands under ``if TYPE_CHECKING:``."""

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


@dataclass(frozen=True)
class Source:
    """One file of an import package.

    Attributes
    ----------
    path:
        Where it lies.
    module:
        Its dotted name, ``farfunc_server.routes.jobs``.
    """

    path: Path
    module: str

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def parts(self) -> list[str]:
        """The dotted name below the import package: ``["routes", "jobs"]``."""
        return self.module.split(".")[1:]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))

    def imports(self) -> Iterator[Import]:
        """Every import, those inside functions and under ``TYPE_CHECKING`` included."""
        typed = {
            id(inner)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
            for statement in node.body
            for inner in ast.walk(statement)
        }
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    yield Import(name.name, node.lineno, id(node) in typed)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                for name in node.names:
                    yield Import(self._submodule(base, name.name), node.lineno, id(node) in typed)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.module.split(".")
        drop = node.level - 1 if self.is_package else node.level
        package = package[: len(package) - drop]
        return ".".join([*package, node.module] if node.module else package)

    def _submodule(self, base: str, name: str) -> str:
        """``base.name`` where that is a module of ours, ``base`` where ``name`` is a name in it."""
        root = self.path.parents[len(self.module.split(".")) - (0 if self.is_package else 1)]
        below = root.joinpath(*base.split("."), name)
        return f"{base}.{name}" if below.is_dir() or below.with_suffix(".py").exists() else base


def sources(package: Path) -> list[Source]:
    """Every Python file of an import package."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        found.append(Source(path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)))
    return found


def cycles(package: list[Source]) -> list[list[str]]:
    """Modules of a package that import one another in a ring: one ring for each knot of them, none if there is none.

    A module is loaded after the packages that it lies in, so whoever imports ``a.b.c`` imports ``a.b`` too; but for
    ``a.b`` and what lies in it, where that is under way.

    An import under ``TYPE_CHECKING`` counts, but for one within a package below the top, such as the torch front
    end: there it says the class of a parameter, of which a module is handed an object and knows nothing else.
    """
    known = {source.module for source in package}
    graph: dict[str, set[str]] = {source.module: set() for source in package}
    for source in package:
        for found in source.imports():
            if found.only_typed and len(source.parts) > 1 and found.module.split(".")[1:2] == source.parts[:1]:
                continue
            graph[source.module] |= _loaded(source.module, found.module) & known
        graph[source.module].discard(source.module)
    rings = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            ring = error.args[1]
            rings.append(ring[::-1])  # each imports the next
            for module in ring:
                graph[module].clear()
        else:
            return rings


def _loaded(importer: str, module: str) -> set[str]:
    parts = module.split(".")
    packages = {".".join(parts[:count]) for count in range(2, len(parts) + 1)}
    return {name for name in packages if name == module or not f"{importer}.".startswith(f"{name}.")}
