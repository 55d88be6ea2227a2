"""Models as scientists and engineers write them, in ordinary NumPy: what the NumPy front end is tried on.

Nothing in them knows of farfunc. ``MODELS`` holds each function with its argument.
"""

from . import fields, learning, mechanics
from ._collection import MODELS

__all__ = ["MODELS", "fields", "learning", "mechanics"]
