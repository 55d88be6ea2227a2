"""The reference pages that follow from tables of the code.

Run ``python docs/generate.py`` after a change of the op table, of the errors or of the NumPy front end;
``tests/test_docs.py`` fails where a page is not what this writes.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from farfunc._numpy import _front_end  # which has every module register what it implements
from farfunc._numpy._creation import CREATED
from farfunc._numpy._registry import FUNCTIONS, METHODS, UFUNCS, name_of
from farfunc_protocol import errors
from farfunc_protocol.errors import FarfuncError
from farfunc_protocol.ops import FAMILIES, OPS
from farfunc_protocol.ops.op import Op

__all__ = ["PAGES"]

DOCS = Path(__file__).resolve().parent

_OPS = """\
# The op table

<!-- Written by `python docs/generate.py`. Change the table that it reads, not this page. -->

A graph consists of these {count} operators and of the transforms (`jacfwd`, `vmap`, …: see
[format.md](format.md)). Each is a functional ATen operator above autograd: its name, overload and order of
arguments are ATen's own, and the overload `.default` is left out. An operator that has no row here is
refused. The server gives the same table as JSON at `GET /v1/ops`.

In an equation, `in` holds one operand for each tensor argument of the schema (`Tensor`, `Tensor?`,
`Tensor[]`), in the schema's order; `at` holds the other arguments by name, those with their default left out.

- **shapes**: ● the types of the results follow without torch, so that a client without torch can emit the
  operator ({known} of them); ○ only a server can tell them, so the operator comes from the torch client or
  from a graph written by hand.
- **random**: it may draw random numbers; under `vmap` it obeys `randomness`.
"""

_OPS_HEAD = "| schema | | shapes | random |\n|---|---|---|---|\n"

_TITLES = {
    "elementary": "Elementary functions",
    "arithmetic": "Arithmetic",
    "logic": "Comparison and logic",
    "special": "Special functions",
    "activations": "Activations",
    "reductions": "Reductions and scans",
    "manipulation": "Shapes and dtypes",
    "cutting": "Cutting and joining",
    "indexing": "Indexing and scattering",
    "products": "Products",
    "linalg": "Linear algebra",
    "fourier": "Fourier transforms",
    "creation": "Creation",
    "random": "Random numbers",
    "layers": "Layers of networks",
    "losses": "Losses",
    "backward": "Derivatives that a trace may contain",
}

_ERRORS = """\
# Errors

<!-- Written by `python docs/generate.py`. Change the classes that it reads, not this page. -->

Every failure is one exception of this tree, in the client and on the wire. `except farfunc.FarfuncError`
catches them all. Where torch.func or Python has a type for the case, ours is a subclass of it, so
`except ValueError` and the like go on working. An error says what was given (`detail`), where (`where`: a
path in the document, or the line of your function), which rule it broke (`rule`, see
[format.md](format.md#the-rules)) and what to do instead (`remedy`).

Over HTTP it is an [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem document with the media type
`application/problem+json` and these members; those marked ? are there when there is something to say.

| member | |
|---|---|
| `type` | `urn:farfunc:error:` and the code |
| `title` | what the code means, in a few words |
| `status` | the HTTP status |
| `code` | stable, for programs; the texts may change |
| `detail` | what was given and what is wrong with it |
| `where`? | the place |
| `rule`? | the number of the validation rule |
| `remedy`? | what to do instead |
| `retry_after`? | seconds after which the same request may succeed; also the header `Retry-After` |
| `request_id` | also the header `X-Request-Id` of every answer, and in the server's log |

The Python client makes the same exception of the document. A code that it does not know, from a newer
server, becomes a plain `FarfuncError` with the server's text.

| exception | is also a | code | HTTP | meaning |
|---|---|---|---|---|
"""

_HTTP_ONLY = """
Seven more codes come from the HTTP layer alone: `not_found` (404: no such route), `method_not_allowed` (405),
`not_acceptable` (406: nothing that `Accept` allows can be given), `unsupported_media_type` (415: a missing or unknown
`Content-Type`), `unsupported_content_encoding` (415), `bad_content_encoding` (400: the body is not what its
`Content-Encoding` says) and `bad_request` (400: no `Host`).
"""


_NUMPY = """\
# NumPy functions that can be traced

<!-- Written by `python docs/generate.py`. Change the front end that it reads, not this page. -->

What stands here can be called with traced arrays inside a function that is differentiated without torch; how,
and what to do about the rest, is told in [numpy.md](numpy.md). Anything not listed raises `UnsupportedOperator`
or `DataDependentError` with the line of your function. With arguments whose values are known (tables, constants)
every function of NumPy works, since it is simply run.
"""


def operators() -> str:
    """The page of the op table."""
    known = sum(op.shape_rule is not None for op in OPS.values())
    page = _OPS.format(count=len(OPS), known=known)
    for family, ops in FAMILIES.items():
        page += f"\n## {_TITLES.get(family, family.capitalize())}\n\n{_OPS_HEAD}"
        page += "".join(_operator_row(op) for op in ops)
    return page


def _operator_row(op: Op) -> str:
    shapes = "○" if op.shape_rule is None else "●"
    return f"| `{_cell(str(op.schema))}` | {_cell(op.doc)} | {shapes} | {'yes' if op.random else ''} |\n"


def error_tree() -> str:
    """The page of the errors."""
    return _ERRORS + "".join(_error_row(kind, depth) for kind, depth in _tree(FarfuncError)) + _HTTP_ONLY


def _tree(kind: type[FarfuncError], depth: int = 0) -> Iterator[tuple[type[FarfuncError], int]]:
    yield kind, depth
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:  # the server and the client refine some of them
            yield from _tree(child, depth + 1)


def _error_row(kind: type[FarfuncError], depth: int) -> str:
    builtin = [base for base in kind.__bases__ if not issubclass(base, FarfuncError) and base is not Exception]
    summary = " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())
    summary = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", summary).replace("``", "`")
    also = ", ".join(f"`{base.__name__}`" for base in builtin)
    name = f"{'&nbsp;&nbsp;' * depth}`{kind.__name__}`"
    return f"| {name} | {also} | `{kind.code}` | {kind.status} | {_cell(summary)} |\n"


def numpy_functions() -> str:
    """The page of what the NumPy front end covers."""
    assert _front_end
    functions: dict[str, list[str]] = {"np": [], "np.linalg": [], "np.fft": []}
    for name in sorted(map(name_of, FUNCTIONS)):
        functions.setdefault(name.rpartition(".")[0], []).append(name.rpartition(".")[2])
    own = set(dir(np.ndarray))
    methods = sorted(name for name in METHODS if not name.startswith("_"))
    sections = {
        "Ufuncs": ("np", sorted(ufunc.__name__ for ufunc in UFUNCS)),
        **{f"`{module}`": (module, names) for module, names in functions.items()},
        "Creation": ("np", sorted({getattr(function, "__name__", function) for function in CREATED})),
        "Methods that NumPy's arrays have": ("x", [name for name in methods if name in own]),
        "Methods that torch's tensors have": ("x", [name for name in methods if name not in own]),
    }
    page = _NUMPY
    for title, (prefix, names) in sections.items():
        page += f"\n## {title}\n\n" + _wrapped(", ".join(f"`{prefix}.{name}`" for name in names)) + "\n"
    return page


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 118, break_on_hyphens=False)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES = {"ops.md": operators, "errors.md": error_tree, "numpy-functions.md": numpy_functions}
"""What writes each page."""


def main() -> int:
    """Write the pages."""
    for name, write in PAGES.items():
        (DOCS / name).write_text(write(), encoding="utf-8")
        print(f"docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
