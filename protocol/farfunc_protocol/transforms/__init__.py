"""What each transform of torch.func does to arguments, types and results, without torch.

Two forms: the user's over pytrees (:class:`Transform` and its kinds), the wire's over leaves
(:class:`FlatTransform`). ``docs/architecture.md`` says how they belong together.
"""

from .check import RANDOMNESS, check_flat
from .flat import TRANSFORM_NAMES, FlatTransform, flat_inner_types, flat_result_types, primal_count

__all__ = [
    "RANDOMNESS",
    "TRANSFORM_NAMES",
    "FlatTransform",
    "check_flat",
    "flat_inner_types",
    "flat_result_types",
    "primal_count",
]
