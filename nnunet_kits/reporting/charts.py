"""Charts as SVG, inside the page: box plots of scores, and training curves."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from nnunet_kits.reporting.training_log import History

Colour = tuple[int, int, int]

REGION_COLOURS: dict[str, Colour] = {
    "kidney_and_mass": (0, 158, 115),
    "mass": (204, 121, 167),
    "tumor": (213, 94, 0),
}
FOLD_COLOURS: tuple[Colour, ...] = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233))
"""Okabe and Ito's palette, which stays apart in every kind of colour blindness (see :mod:`.overlays`)."""

WIDTH = 620
ROW, MARGIN_LEFT, MARGIN_TOP, MARGIN_BOTTOM = 46, 118, 28, 34
FEWEST_FOR_A_BOX = 5
CURVE_HEIGHT, CURVE_LEFT = 210, 52


def box_plots(title: str, numbers: Mapping[str, Sequence[float]]) -> str:
    """Scores from 0 to 1: a row for each class with every case as a point, and a box where there are enough.

    The box is from the first to the third quartile with the median, the whiskers reach to the furthest case within 1.5
    times the box, the diamond is the mean.

    Args:
        title: what is shown.
        numbers: class -> a number for each case.

    Source: Tukey 1977, Exploratory Data Analysis.
    """
    height = MARGIN_TOP + ROW * len(numbers) + MARGIN_BOTTOM
    bottom = height - MARGIN_BOTTOM
    marks = [_text(MARGIN_LEFT, 16, title, "start", bold=True)]
    for tick in range(0, 11, 2):
        x = _x(tick / 10)
        marks.append(f'<line x1="{x}" x2="{x}" y1="{MARGIN_TOP}" y2="{bottom}" class="grid"/>')
        marks.append(_text(x, bottom + 18, f"{tick / 10:.1f}", "middle"))
    for row, (name, values) in enumerate(numbers.items()):
        middle = MARGIN_TOP + ROW * (row + 0.5)
        marks.append(_text(MARGIN_LEFT - 10, middle + 4, name, "end"))
        marks.append(_box(sorted(values), middle, REGION_COLOURS.get(name, FOLD_COLOURS[0])))
    return _svg(WIDTH, height, f"{title}: box plots of {', '.join(numbers)}", marks)


def _box(values: Sequence[float], middle: float, colour: Colour) -> str:
    """One row: points, and box, whiskers and mean over them."""
    ink = _css(colour)
    marks = []
    for place, value in enumerate(values):
        jitter = ((place * 0.618034) % 1 - 0.5) * ROW * 0.42  # the golden ratio spreads neighbours apart
        marks.append(f'<circle cx="{_x(value)}" cy="{middle + jitter:.1f}" r="3" fill="{ink}" fill-opacity="0.45"/>')
    if len(values) >= FEWEST_FOR_A_BOX:
        lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        reach = 1.5 * (upper - lower)
        low = min(lower, *(value for value in values if value >= lower - reach))
        high = max(upper, *(value for value in values if value <= upper + reach))
        top, tall = middle - 11, 22
        marks += [
            f'<line x1="{_x(low)}" x2="{_x(lower)}" y1="{middle}" y2="{middle}" stroke="{ink}" stroke-width="1.5"/>',
            f'<line x1="{_x(upper)}" x2="{_x(high)}" y1="{middle}" y2="{middle}" stroke="{ink}" stroke-width="1.5"/>',
            f'<rect x="{_x(lower)}" y="{top}" width="{max(1.0, (upper - lower) * _span()):.1f}" height="{tall}" '
            f'fill="{ink}" fill-opacity="0.15" stroke="{ink}" stroke-width="1.5"/>',
            f'<line x1="{_x(median)}" x2="{_x(median)}" y1="{top}" y2="{top + tall}" stroke="{ink}" stroke-width="3"/>',
        ]
    if values:
        x, size = _x(sum(values) / len(values)), 5
        shape = f"M{x - size},{middle} L{x},{middle - size} L{x + size},{middle} L{x},{middle + size} Z"
        marks.append(f'<path d="{shape}" fill="#fff" stroke="#1c2430" stroke-width="1.5"/>')
    return "\n".join(marks)


def loss_curves(histories: Mapping[str, History]) -> str:
    """Training (solid) and validation loss (dashed) of the folds over epochs."""
    lines = []
    for index, history in enumerate(histories.values()):
        colour = FOLD_COLOURS[index % len(FOLD_COLOURS)]
        lines += [(history.train_loss, colour, False), (history.val_loss, colour, True)]
    return _curves("Loss: training solid, validation dashed", lines)


def dice_curves(histories: Mapping[str, History]) -> str:
    """Pseudo Dice of the folds, mean over classes, over epochs."""
    lines = [
        (history.pseudo_dice, FOLD_COLOURS[index % len(FOLD_COLOURS)], False)
        for index, history in enumerate(histories.values())
    ]
    return _curves("Pseudo Dice on validation patches, mean over classes", lines)


def fold_legend(histories: Mapping[str, History]) -> str:
    """Which colour is which fold."""
    entries = [
        f'<span><i class="swatch" style="background: {_css(FOLD_COLOURS[index % len(FOLD_COLOURS)])}"></i>'
        f"fold {escape(fold)}</span>"
        for index, fold in enumerate(histories)
    ]
    return f'<div class="legend">{"".join(entries)}</div>'


def _curves(title: str, lines: Sequence[tuple[Mapping[int, float], Colour, bool]]) -> str:
    """Numbers over epochs as lines with axes; nothing where there are none."""
    drawn = [(dict(sorted(line.items())), colour, dashed) for line, colour, dashed in lines if line]
    if not drawn:
        return ""
    epochs = max(max(line) for line, _, _ in drawn)
    values = [value for line, _, _ in drawn for value in line.values() if math.isfinite(value)]
    ticks = _ticks(min(values), max(values))
    top, bottom, right = MARGIN_TOP, CURVE_HEIGHT - MARGIN_BOTTOM, WIDTH - 16

    def x(epoch: float) -> float:
        return round(CURVE_LEFT + (right - CURVE_LEFT) * epoch / max(1, epochs), 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - top) * (value - ticks[0]) / (ticks[-1] - ticks[0]), 1)

    marks = [_text(CURVE_LEFT, 16, title, "start", bold=True)]
    for tick in ticks:
        marks.append(f'<line x1="{CURVE_LEFT}" x2="{right}" y1="{y(tick)}" y2="{y(tick)}" class="grid"/>')
        marks.append(_text(CURVE_LEFT - 8, y(tick) + 4, f"{tick:g}", "end"))
    for epoch in sorted({0, epochs // 2, epochs}):
        marks.append(_text(x(epoch), bottom + 18, f"{epoch}", "middle"))
    marks.append(_text(right, CURVE_HEIGHT - 2, "epoch", "end"))
    for line, colour, dashed in drawn:
        points = " ".join(f"{x(epoch)},{y(value)}" for epoch, value in line.items() if math.isfinite(value))
        style = ' stroke-dasharray="5 4"' if dashed else ""
        marks.append(f'<polyline points="{points}" fill="none" stroke="{_css(colour)}" stroke-width="1.8"{style}/>')
        if len(line) == 1:
            (epoch, value), *_ = line.items()
            marks.append(f'<circle cx="{x(epoch)}" cy="{y(value)}" r="3" fill="{_css(colour)}"/>')
    return _svg(WIDTH, CURVE_HEIGHT, title, marks)


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers from below the lowest to above the highest."""
    span = max(high - low, 1e-6)
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * factor for factor in (0.2, 0.5, 1.0, 2.0, 5.0) if span / (power * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * index, 10) for index in range(first, max(last, first + 1) + 1)]


def _span() -> float:
    return WIDTH - 16 - MARGIN_LEFT


def _x(value: float) -> float:
    return round(MARGIN_LEFT + _span() * value, 1)


def _css(colour: Colour) -> str:
    return "rgb({}, {}, {})".format(*colour)


def _text(x: float, y: float, text: str, anchor: str, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _svg(width: int, height: int, description: str, marks: Sequence[str]) -> str:
    label = escape(description, quote=True)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">\n' + "\n".join(marks) + "\n</svg>"
