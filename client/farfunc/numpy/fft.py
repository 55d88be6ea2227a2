"""``numpy.fft``, which dispatches on its arguments: the functions are NumPy's own."""

from numpy.fft import *  # noqa: F403 # pyright: ignore[reportWildcardImportFromLibrary]
from numpy.fft import __all__ as __all__
