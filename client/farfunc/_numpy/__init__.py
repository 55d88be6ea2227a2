"""The NumPy front end: ordinary NumPy code, traced without torch."""

from ._front_end import NumpyFrontEnd, NumpyTrace
from ._tracer import Tracer

__all__ = ["NumpyFrontEnd", "NumpyTrace", "Tracer"]
