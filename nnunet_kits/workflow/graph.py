"""The steps of a run as a picture: what reads what, from above; the folds of one training are one box."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import atomic_path
from nnunet_kits.errors import WorkflowError
from nnunet_kits.recipes.steps import Step

WIDTH, HEIGHT, GAP_X, GAP_Y = 2.6, 0.66, 0.35, 0.28
"""Of a box and between boxes, in inches."""

COLOURS = {"train": "#f2d7c4", "predict": "#d5e5d0", "restore": "#d5e5d0", "postprocess": "#d5e5d0"}
COLOURS |= {"evaluate": "#dad6ea", "measure": "#dad6ea", "report": "#dad6ea"}
DATA = "#d3e2ef"
EDGE = "#8a9199"
KINDS = (".svg", ".png", ".pdf")
LETTERS = 36
"""In a line of a box."""


@dataclass
class Box:
    """One step, the folds of one training, or a place that a line passes on its way to a box farther below.

    Attributes:
        verb: of the step; empty for a line.
        folds: how many steps it stands for.
        lines: what else stands in it.
        before: keys of the boxes that it reads, without those that these read.
        row: from 0 above, below all that it reads.
        column: of a row of boxes; 0 is the middle of the picture.
    """

    verb: str
    folds: int
    lines: list[str]
    before: list[str]
    row: int = 0
    column: float = 0


def boxes_of(steps: Sequence[Step]) -> dict[str, Box]:
    """The boxes of a picture, with their places.

    Args:
        steps: all steps, those that are read before those that read them.
    """
    key = {step.name: re.sub(r"_fold\w+$", "", step.name) if step.verb == "train" else step.name for step in steps}
    boxes: dict[str, Box] = {}
    behind: dict[str, set[str]] = {}
    for step in steps:
        mine = key[step.name]
        before = list(dict.fromkeys(key[name] for name in step.after if name in key))
        folds = boxes[mine].folds + 1 if mine in boxes else 1
        boxes[mine] = Box(step.verb, folds, _lines(mine.removeprefix(step.verb)), before)
        behind[mine] = {*before, *(farther for name in before for farther in behind[name])}
    for box in boxes.values():
        box.before = [name for name in box.before if not any(name in behind[other] for other in box.before)]
        box.row = max((boxes[name].row + 1 for name in box.before), default=0)
    boxes |= _lines_between(boxes)
    _spread(boxes)
    return boxes


def _lines_between(boxes: dict[str, Box]) -> dict[str, Box]:
    """The places that lines pass which go farther than to the next row, so that they run behind no box."""
    places: dict[str, Box] = {}
    for box in boxes.values():
        for number, name in enumerate(box.before):
            for row in range(boxes[name].row + 1, box.row):
                place = f"{name} to row {row}"
                places[place] = Box("", 0, [], [box.before[number]], row)
                box.before[number] = place
    return places


def _lines(name: str) -> list[str]:
    """A step's name without its verb, a dataset, a configuration or a trainer never broken."""
    lines: list[str] = []
    for part in filter(None, re.split(r"_(?=[A-Z]|[23]d)", name.strip("_"))):
        if lines and len(lines[-1]) + 1 + len(part) <= LETTERS:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return lines


def _spread(boxes: dict[str, Box]) -> None:
    """Columns: the boxes of a row side by side, in the order of what they read."""
    for row in range(1 + max((box.row for box in boxes.values()), default=-1)):
        here = [box for box in boxes.values() if box.row == row]
        here.sort(key=lambda box: sum(boxes[name].column for name in box.before) / max(1, len(box.before)))
        for place, box in enumerate(here):
            box.column = place - (len(here) - 1) / 2


def check_picture(file: Path) -> None:
    """Refuse a picture that cannot be written, before anything runs.

    Raises:
        WorkflowError: another kind of picture, or no such folder.
    """
    if file.suffix not in KINDS:
        raise WorkflowError(f"{file}: a graph is drawn as {', '.join(KINDS)}. Give its file one of these endings.")
    if not file.absolute().parent.is_dir():
        raise WorkflowError(f"{file}: there is no folder {file.absolute().parent}. Make it first.")


def draw(steps: Sequence[Step], file: Path) -> None:
    """Draw the steps.

    Args:
        steps: all steps, those that are read before those that read them.
        file: the picture; its ending says how, see :data:`KINDS`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    boxes = boxes_of(steps)
    columns = 1 + 2 * max((box.column for box in boxes.values()), default=0)
    rows = 1 + max((box.row for box in boxes.values()), default=0)
    size = columns * (WIDTH + GAP_X), rows * (HEIGHT + GAP_Y)
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    axes.axis("off")
    for box in boxes.values():
        middle, upper = size[0] / 2 + box.column * (WIDTH + GAP_X), GAP_Y / 2 + box.row * (HEIGHT + GAP_Y)
        for other in (boxes[name] for name in box.before):
            start = size[0] / 2 + other.column * (WIDTH + GAP_X), GAP_Y / 2 + other.row * (HEIGHT + GAP_Y) + HEIGHT
            look = "-|>" if box.verb else "-"
            arrow = FancyArrowPatch(start, (middle, upper), arrowstyle=look, mutation_scale=9, shrinkA=0, shrinkB=0)
            arrow.set(color=EDGE, zorder=1)
            axes.add_patch(arrow)
        if not box.verb:
            axes.plot([middle, middle], [upper, upper + HEIGHT], color=EDGE, linewidth=1, zorder=1)
            continue
        shape = FancyBboxPatch((middle - WIDTH / 2, upper), WIDTH, HEIGHT, "round,pad=0,rounding_size=0.08", zorder=2)
        shape.set(facecolor=COLOURS.get(box.verb, DATA), edgecolor=EDGE)
        axes.add_patch(shape)
        verb = f"{box.verb}, {box.folds} folds" if box.folds > 1 else box.verb
        space = HEIGHT / (len(box.lines) + 2)
        style: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 3}
        axes.text(middle, upper + space, verb, fontsize=9, fontweight="bold", **style)
        for place, line in enumerate(box.lines):
            axes.text(middle, upper + (place + 2) * space, line, fontsize=7.5, **style)
    with atomic_path(file) as temporary, mpl.rc_context({"svg.hashsalt": "nnunet_kits", "svg.fonttype": "none"}):
        kind = file.suffix.removeprefix(".")
        figure.savefig(temporary, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
