"""Charts as SVG: curves and marks between two axes, drawn for a page that says what the colours are.

Classes: `chart` of the whole, `axis`, `grid`, `curve`, `guess` (what is not measured), `mark`, `bar`. Texts have the
colour of the text around them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from markupsafe import Markup, escape

WIDTH, HEIGHT = 520, 400
"""Of a chart, in units of its view box."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 16, 52
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: from `low` to `high`, with names for some values, on a scale that `place` maps values to.

    Values outside are drawn at its ends.
    """

    name: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    place: Callable[[float], float]

    def share(self, value: float) -> float:
        """Where a value is: 0 at the low end, 1 at the high one."""
        inside = min(max(value, self.low), self.high)
        low, high = self.place(self.low), self.place(self.high)
        return (self.place(inside) - low) / (high - low)


def linear(name: str, low: float = 0.0, high: float = 1.0) -> Axis:
    """An axis with a tick at each fifth."""
    steps = [low + (high - low) * number / 5 for number in range(6)]
    return Axis(name, low, high, tuple((step, f"{step:.3g}") for step in steps), lambda value: value)


def logarithmic(name: str, low: float) -> Axis:
    """An axis up to 1 with a tick at each power of ten; `low` is rounded down to one."""
    decades = max(1, math.ceil(-math.log10(low) - 1e-9))
    powers = range(-decades, 1, max(1, round(decades / 6)))
    ticks = tuple((10.0**power, "1" if power == 0 else f"10{_raised(power)}") for power in powers)
    return Axis(name, 10.0**-decades, 1.0, ticks, math.log10)


def deviate(name: str, low: float, high: float = 0.5) -> Axis:
    """An axis of rates by their normal deviates (Martin et al., The DET curve, Eurospeech 1997)."""
    low = min(low, 0.01)
    every = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.5, 0.8, 0.95)
    ticks = tuple((rate, f"{100 * rate:g} %") for rate in every if low <= rate <= high)
    return Axis(name, low, high, ticks, _NORMAL.inv_cdf)


@dataclass(frozen=True, slots=True)
class Mark:
    """A point: a word or a letter stands beside it, its name is told to those who point at it."""

    x: float
    y: float
    letter: str
    name: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, `guess` where it is not measured."""

    points: Sequence[tuple[float, float]]
    guess: bool = False


def chart(title: str, x: Axis, y: Axis, lines: Sequence[Line], marks: Sequence[Mark] = ()) -> Markup:
    """An SVG element."""
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        *(_tick_x(x, value, text) for value, text in x.ticks),
        *(_tick_y(y, value, text) for value, text in y.ticks),
        f'<path class="axis" d="M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>',
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 12}" class="name">{escape(x.name)}</text>',
        f'<text transform="translate(16 {(_TOP + HEIGHT - _BOTTOM) / 2}) rotate(-90)" class="name">'
        f"{escape(y.name)}</text>",
        *(_line(x, y, line) for line in lines),
        *(_mark(x, y, mark) for mark in marks),
        "</svg>",
    ]
    return Markup("\n".join(parts))  # noqa: S704 - of numbers and escaped texts


def bars(title: str, name: str, values: Sequence[tuple[str, int]]) -> Markup:
    """An SVG element with a bar for each value, named below and told above."""
    most = max((value for _, value in values), default=1)
    room = (WIDTH - 2 * _RIGHT) / max(len(values), 1)
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for number, (text, value) in enumerate(values):
        height = (HEIGHT - _TOP - _BOTTOM - 20) * value / most
        left, top = _RIGHT + number * room, HEIGHT - _BOTTOM - height
        middle = left + room / 2
        parts += [
            f'<rect class="bar" x="{left + room * 0.12:.1f}" y="{top:.1f}" width="{room * 0.76:.1f}" '
            f'height="{height:.1f}" rx="2"/>',
            f'<text x="{middle:.1f}" y="{top - 6:.1f}" class="tick middle">{value}</text>',
            f'<text x="{middle:.1f}" y="{HEIGHT - _BOTTOM + 18}" class="tick middle">{escape(text)}</text>',
        ]
    parts += [
        f'<path class="axis" d="M{_RIGHT} {HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" class="name">{escape(name)}</text>',
        "</svg>",
    ]
    return Markup("\n".join(parts))  # noqa: S704 - of numbers and escaped texts


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.share(value) * (HEIGHT - _TOP - _BOTTOM)


def _tick_x(axis: Axis, value: float, text: str) -> str:
    at = f"{_x(axis, value):.1f}"
    return (
        f'<path class="grid" d="M{at} {_TOP}V{HEIGHT - _BOTTOM}"/>'
        f'<text x="{at}" y="{HEIGHT - _BOTTOM + 18}" class="tick middle">{text}</text>'
    )


def _tick_y(axis: Axis, value: float, text: str) -> str:
    at = _y(axis, value)
    return (
        f'<path class="grid" d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" class="tick end">{text}</text>'
    )


def _line(x: Axis, y: Axis, line: Line) -> str:
    path = "L".join(f"{_x(x, one):.1f} {_y(y, two):.1f}" for one, two in _inside(x, y, line.points))
    return f'<path class="{"guess" if line.guess else "curve"}" d="M{path}"/>' if path else ""


def _inside(x: Axis, y: Axis, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points between the ends of both axes, and the next one on either side of them."""
    inside = [x.low <= one <= x.high and y.low <= two <= y.high for one, two in points]
    near = [False, *inside, False]
    kept = [point for number, point in enumerate(points) if any(near[number : number + 3])]
    return kept or list(points)


def _mark(x: Axis, y: Axis, mark: Mark) -> str:
    at, height = _x(x, mark.x), _y(y, mark.y)
    beside = f'x="{max(at, _LEFT + 16):.1f}" y="{height + (20 if height < _TOP + 24 else -10):.1f}"'
    return (
        f'<circle class="mark" cx="{at:.1f}" cy="{height:.1f}" r="4.5"><title>{escape(mark.name)}</title></circle>'
        f'<text {beside} class="letter">{escape(mark.letter)}</text>'
    )


_SUPERSCRIPT: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _raised(power: int) -> str:
    return str(power).translate(_SUPERSCRIPT)
