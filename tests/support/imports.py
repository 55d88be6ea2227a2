"""What the source files of a package import, read from their syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["Import", "Source", "sources"]


@dataclass(frozen=True)
class Import:
    """One imported module, absolute: ``torch.func`` for ``from torch.func import jacfwd``.

    ``from . import plans`` in ``farfunc_server.evaluation`` is ``farfunc_server.evaluation.plans``.
    """

    module: str
    line: int

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
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    yield Import(name.name, node.lineno)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                for name in node.names:
                    yield Import(self._submodule(base, name.name), node.lineno)

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
