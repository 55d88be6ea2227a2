"""Bar charts as SVG, written by hand: a page needs two of them and no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Bar", "Group", "chart"]

_COLOURS = ("#4878a8", "#e49444", "#6a9f58", "#d1605e", "#a87c9f", "#85b6b2", "#967662", "#b8b0ac")
_LEFT, _WIDTH, _BAR, _GAP = 300, 560, 13, 14


@dataclass(frozen=True)
class Bar:
    """One bar; its series gives its colour."""

    series: str
    value: float


@dataclass(frozen=True)
class Group:
    """The bars of one case."""

    title: str
    bars: Sequence[Bar]


def chart(title: str, unit: str, groups: Sequence[Group], line: float | None = None) -> str:
    """A chart of horizontal bars over a logarithmic axis.

    Parameters
    ----------
    line:
        A value that is marked across all groups.
    """
    groups = [group for group in groups if group.bars]
    values = [bar.value for group in groups for bar in group.bars if bar.value > 0]
    low, high = _decades([*values, *([line] if line else [])])
    series = list(dict.fromkeys(bar.series for group in groups for bar in group.bars))
    colour = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(series)}

    def x(value: float) -> float:
        return _LEFT + _WIDTH * (math.log10(max(value, low)) - math.log10(low)) / math.log10(high / low)

    parts = [f'<text x="10" y="22" font-size="15" font-weight="bold">{escape(title)}</text>']
    for number, name in enumerate(series):
        left = 10 + 145 * (number % 6)
        top = 34 + 18 * (number // 6)
        parts.append(f'<rect x="{left}" y="{top}" width="11" height="11" fill="{colour[name]}"/>')
        parts.append(f'<text x="{left + 16}" y="{top + 10}">{escape(name)}</text>')
    top = y = 62 + 18 * ((len(series) - 1) // 6)
    bars = []
    for group in groups:
        middle = y + _BAR * len(group.bars) / 2 + 4
        bars.append(f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(group.title)}</text>')
        for bar in group.bars:
            width = max(x(bar.value) - _LEFT, 1)
            bars.append(
                f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" fill="{colour[bar.series]}"/>'
                f'<text x="{_LEFT + width + 4:.1f}" y="{y + 10}" font-size="10">{bar.value:.3g}</text>'
            )
            y += _BAR
        y += _GAP
    for decade in range(round(math.log10(low)), round(math.log10(high)) + 1):
        at = x(10.0**decade)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{y + 14}" text-anchor="middle">{10.0**decade:g}</text>')
    if line:
        at = x(line)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{y}" stroke="#333" stroke-width="2"/>')
    parts += bars
    parts.append(f'<text x="{_LEFT + _WIDTH / 2}" y="{y + 32}" text-anchor="middle">{escape(unit)}</text>')
    width, height = _LEFT + _WIDTH + 60, y + 44
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _decades(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.1, 10.0
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return 10.0**low, 10.0 ** max(high, low + 1)
