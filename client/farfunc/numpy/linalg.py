"""``numpy.linalg``, which dispatches on its arguments: the functions are NumPy's own."""

from numpy.linalg import *  # noqa: F403 # pyright: ignore[reportWildcardImportFromLibrary]
from numpy.linalg import __all__ as __all__
