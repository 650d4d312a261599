"""Charts, drawn by matplotlib: box plots of scores, and training curves."""

import itertools
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nnunet_kits.palette import BLUE, FOLD_COLOURS, REGION_COLOURS, VERMILION, css
from nnunet_kits.status.training_log import History

FEWEST_FOR_A_BOX = 5
WIDTH_IN = 5.2
INK, GRID = "#1c2430", "#dde1e7"
FOLD_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MARKERS_OF_A_LINE = 8

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "nnunet_kits",  # the same numbers give the same bytes
    "svg.fonttype": "path",  # letters look the same on a machine without their font
    "figure.constrained_layout.use": True,
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.color": GRID,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}
"""Over matplotlib's own defaults, whatever the user's matplotlibrc says."""


def score_boxes(numbers: Mapping[str, Sequence[float]]) -> Figure:
    """Scores from 0 to 1: a row for each class with every case as a point, and a box where there are enough.

    The box is from the first to the third quartile with the median, the whiskers reach to the furthest case within 1.5
    times the box, the diamond is the mean.

    Args:
        numbers: class -> a number for each case.

    Source: Tukey 1977, Exploratory Data Analysis.
    """
    with matplotlib.style.context(STYLE, after_reset=True):
        figure = Figure((WIDTH_IN, 0.55 + 0.42 * len(numbers)))
        axes = figure.add_subplot()
        for row, (name, values) in enumerate(numbers.items()):
            _score_row(axes, row, sorted(values), css(REGION_COLOURS.get(name, BLUE)))
        axes.set_yticks(range(len(numbers)), list(numbers))
        axes.set_ylim(len(numbers) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)  # points at 0 and at 1 are seen whole
        axes.grid(False, axis="y")
    return figure


def _score_row(axes: Axes, row: int, values: Sequence[float], colour: str) -> None:
    """One class: points, and box, whiskers and mean over them."""
    # The golden ratio spreads neighbours apart.
    jitter = [row + ((place * 0.618034) % 1 - 0.5) * 0.42 for place in range(len(values))]
    axes.plot(values, jitter, "o", color=colour, alpha=0.45, markersize=4.5, markeredgewidth=0)
    if len(values) >= FEWEST_FOR_A_BOX:
        line = {"color": colour, "linewidth": 1.2}
        axes.boxplot(
            values,
            positions=[row],
            widths=0.5,
            whis=1.5,
            orientation="horizontal",
            manage_ticks=False,
            showfliers=False,
            showcaps=False,
            patch_artist=True,
            boxprops={"facecolor": (*matplotlib.colors.to_rgb(colour), 0.15), "edgecolor": colour, "linewidth": 1.2},
            whiskerprops=line,
            medianprops={**line, "linewidth": 2.4},
        )
    if values:
        mean = sum(values) / len(values)
        axes.plot([mean], [row], "D", markerfacecolor="white", markeredgecolor=INK, markersize=6, zorder=4)


def differences_by_volume(points: Sequence[tuple[float, float]], bounds_ml: Sequence[float]) -> Figure:
    """Differences of single cases over the volume of their tumours, and their mean between each two bounds.

    Args:
        points: (volume in mL, above 0; difference).
        bounds_ml: ascending.
    """
    volumes = [volume for volume, _ in points]
    low, high = min(volumes) / 1.3, max(volumes) * 1.3
    edges = [low, *(bound for bound in bounds_ml if low < bound < high), high]
    with matplotlib.style.context(STYLE, after_reset=True):
        figure = Figure((WIDTH_IN, 2.6))
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.axhline(0, color=INK, linewidth=0.8)
        for bound in edges[1:-1]:
            axes.axvline(bound, color=INK, linewidth=0.8, linestyle="--")
        differences = [difference for _, difference in points]
        axes.plot(volumes, differences, "o", color=css(BLUE), alpha=0.5, markersize=4.5, markeredgewidth=0)
        for left, right in itertools.pairwise(edges):
            inside = [difference for volume, difference in points if left <= volume < right]
            if inside:
                axes.plot([left, right], [sum(inside) / len(inside)] * 2, color=css(VERMILION), linewidth=2.4)
        furthest = 1.1 * max(abs(difference) for difference in differences) or 0.1
        axes.set_ylim(-furthest, furthest)
        axes.set_xlim(low, high)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.set_xlabel("tumor volume, mL", loc="right")
    return figure


def loss_curves(histories: Mapping[str, History]) -> Figure | None:
    """Training (solid) and validation loss (dashed) of the folds over epochs; None where there is none."""
    lines = [(history.train_loss, fold, "-") for fold, history in histories.items()]
    lines += [(history.val_loss, fold, "--") for fold, history in histories.items()]
    return _curves(lines, list(histories))


def dice_curves(histories: Mapping[str, History]) -> Figure | None:
    """Pseudo Dice of the folds, mean over classes, over epochs; None where there is none."""
    return _curves([(history.pseudo_dice, fold, "-") for fold, history in histories.items()], list(histories))


def _curves(lines: Sequence[tuple[Mapping[int, float], str, str]], folds: Sequence[str]) -> Figure | None:
    """Numbers of folds over epochs, each fold in a colour and with a marker of its own."""
    finite = [({e: v for e, v in sorted(line.items()) if math.isfinite(v)}, fold, style) for line, fold, style in lines]
    drawn = [(line, fold, style) for line, fold, style in finite if line]
    if not drawn:
        return None
    looks = dict(zip(folds, zip(itertools.cycle(FOLD_COLOURS), itertools.cycle(FOLD_MARKERS)), strict=False))
    with matplotlib.style.context(STYLE, after_reset=True):
        figure = Figure((WIDTH_IN, 2.4))
        axes = figure.add_subplot()
        for line, fold, style in drawn:
            colour, marker = looks[fold]
            every = max(1, len(line) // MARKERS_OF_A_LINE)
            axes.plot(
                list(line), list(line.values()), style, c=css(colour), lw=1.4, marker=marker, ms=4, markevery=every
            )
        last = max(max(line) for line, _, _ in drawn)
        values = [value for line, _, _ in drawn for value in line.values()]
        ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(min(values), max(values))
        axes.set_yticks(ticks)
        axes.set_ylim(ticks[0], ticks[-1])
        axes.set_xlim(0, max(1, last))
        axes.set_xticks(sorted({0, last // 2, last}))
        axes.set_xlabel("epoch", loc="right")
        handles = [Line2D([], [], color=css(colour), marker=marker, markersize=4) for colour, marker in looks.values()]
        figure.legend(handles, [f"fold {fold}" for fold in looks], loc="outside upper left", ncols=5)
    return figure


def to_svg(figure: Figure) -> bytes:
    """The figure as SVG: the same bytes for the same numbers, letters as outlines, no address of the network."""
    buffer = BytesIO()
    with matplotlib.style.context(STYLE, after_reset=True):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return buffer.getvalue()
