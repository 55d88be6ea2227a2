"""Operators of ATen without a row: what they are reached through, or why they are left out."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DECOMPOSED", "EXCLUDED"]

DECOMPOSED: Mapping[str, tuple[str, ...]] = {}
EXCLUDED: Mapping[str, str] = {}
