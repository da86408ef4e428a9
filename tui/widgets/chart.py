"""A chart of several lines from the bars that sparklines are made of. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def chart(values: Sequence[float], width: int, height: int, bars: str) -> list[str]:
    """`values` as `height` lines of `width` cells, the newest at the right; the largest fills all lines.

    `bars` goes from empty to full. Each cell shows the largest of the values that share it; what is above zero shows.
    """
    clean = [value if value > 0 else 0.0 for value in values]
    cells = _spread(clean, width)
    top = max(cells, default=0.0)
    steps = len(bars) - 1
    levels = [0 if top <= 0 or value <= 0 else max(1, round(value / top * steps * height)) for value in cells]
    lines = []
    for row in reversed(range(height)):
        lines.append("".join(bars[min(steps, max(0, level - row * steps))] for level in levels))
    return lines


def _spread(values: Sequence[float], width: int) -> list[float]:
    if not values or width <= 0:
        return [0.0] * max(0, width)
    count = len(values)
    if width >= count:
        # Each value takes some cells, so that a minute always is as wide as the chart.
        return [values[cell * count // width] for cell in range(width)]
    return [max(values[cell * count // width : max(cell * count // width + 1, (cell + 1) * count // width)]) for cell in range(width)]
