"""Which globals a piece of code reads, and which modules are libraries."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from inspect import iscode
from typing import Any

__all__ = ["Names", "is_library", "names_of"]


@dataclass(frozen=True, slots=True)
class Names:
    """What code reads by name.

    Attributes
    ----------
    reads:
        The globals, each with the attributes that are read from it at once: ``settings.solver.steps``.
    foreign_import:
        A module that is no library and is imported as the code runs: its contents are unknown here.
    """

    reads: tuple[tuple[str, tuple[str, ...]], ...]
    foreign_import: str | None


_names: dict[int, tuple[Any, Names]] = {}
"""By the id of the code, which the entry keeps alive."""

_MOST_NAMES = 10_000
"""Beyond it all are read again: a program that makes code as it runs must not fill the memory."""

_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_SILENT = frozenset({"CACHE", "EXTENDED_ARG", "PRECALL"})


def names_of(code: Any) -> Names:
    """The names that code reads, functions defined inside it included.

    >>> import math
    >>> def area(r):
    ...     return [math.pi * radius**2 for radius in r]
    >>> names_of(area.__code__).reads
    (('math', ('pi',)),)
    """
    entry = _names.get(id(code))
    if entry is None:
        if len(_names) >= _MOST_NAMES:
            _names.clear()
        found: dict[tuple[str, tuple[str, ...]], None] = {}
        foreign: list[str] = []
        pending = [code]
        while pending:
            current = pending.pop()
            _read(current, found, foreign)
            pending.extend(constant for constant in current.co_consts if iscode(constant))
        entry = _names[id(code)] = (code, Names(tuple(found), foreign[0] if foreign else None))
    return entry[1]


def _read(code: Any, found: dict[tuple[str, tuple[str, ...]], None], foreign: list[str]) -> None:
    import dis  # and sysconfig below: not before a function is traced, to keep `import farfunc` fast

    name: str | None = None
    attributes: list[str] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname in _SILENT:
            continue
        if name is not None and instruction.opname in _ATTRIBUTE:
            attributes.append(instruction.argval)
            continue
        if name is not None:
            found[name, tuple(attributes)] = None
            name, attributes = None, []
        if instruction.opname in _GLOBAL:
            name = instruction.argval
        elif instruction.opname == "IMPORT_NAME" and not is_library(instruction.argval or "."):
            foreign.append(instruction.argval or ".")
    if name is not None:
        found[name, tuple(attributes)] = None


_LIBRARIES = sys.stdlib_module_names | {
    "numpy",
    "scipy",
    "torch",
    "functorch",
    "farfunc",
    "farfunc_protocol",
    "builtins",
}


@functools.cache
def _folders() -> tuple[str, ...]:
    """Where installed packages lie."""
    import sysconfig

    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return tuple(os.path.realpath(path) + os.sep for path in paths if path)


_is_library: dict[str, bool] = {}


def is_library(module: str | None) -> bool:
    """Whether a module is taken not to change: it is of the standard library, ours, or installed.

    >>> is_library("numpy.linalg"), is_library("__main__")
    (True, False)
    """
    if module is None or module == "__main__":
        return False
    known = _is_library.get(module)
    if known is None:
        known = module.partition(".")[0] in _LIBRARIES or _is_installed(module)
        if module in sys.modules or known:
            _is_library[module] = known
    return known


def _is_installed(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and os.path.realpath(file).startswith(_folders())
