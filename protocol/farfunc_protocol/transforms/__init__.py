"""What each transform of torch.func does to arguments, types and results, without torch.

Two forms: the user's over pytrees (:class:`Transform` and its kinds), the wire's over leaves
(:class:`FlatTransform`). ``docs/architecture.md`` says how they belong together.
"""

from .base import Arguments, Depends, Transform
from .check import RANDOMNESS, check_flat
from .flat import TRANSFORM_NAMES, FlatTransform, flat_inner_types, flat_result_types, primal_count
from .gradient import Grad, GradAndValue
from .jacobian import Hessian, Jacfwd, Jacrev
from .json_form import TRANSFORMS, from_json, to_json
from .products import Jvp, Vjp
from .vmap import Vmap

__all__ = [
    "RANDOMNESS",
    "TRANSFORMS",
    "TRANSFORM_NAMES",
    "Arguments",
    "Depends",
    "FlatTransform",
    "Grad",
    "GradAndValue",
    "Hessian",
    "Jacfwd",
    "Jacrev",
    "Jvp",
    "Transform",
    "Vjp",
    "Vmap",
    "check_flat",
    "flat_inner_types",
    "flat_result_types",
    "from_json",
    "primal_count",
    "to_json",
]
