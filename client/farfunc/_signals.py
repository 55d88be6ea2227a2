"""What a front end asks of the tracing machinery. These are no errors: nobody but farfunc sees them.

They derive from BaseException so that an ``except Exception`` in the user's function lets them pass.
"""

from __future__ import annotations

from farfunc_protocol.builder import Value
from farfunc_protocol.errors import DataDependentError

__all__ = ["NeedsStatic", "NeedsTorch"]


class NeedsTorch(BaseException):
    """The function handed a tracer to torch: trace it again with the torch front end."""


class NeedsStatic(BaseException):
    """Python needs the value of a number that is an argument of the call: trace again with that leaf static.

    Attributes
    ----------
    values:
        The inputs of the graph, each a Python number in the call, that the value follows from.
    error:
        What to raise where a leaf cannot be static, because it is differentiated or batched.
    """

    def __init__(self, values: tuple[Value, ...], error: DataDependentError) -> None:
        super().__init__(str(error))
        self.values = values
        self.error = error
