"""Panels of pictures: letters at the edges and on the labels, a title, a scale bar, several side by side."""

from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

EDGES = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "S", "I"), "sagittal": ("A", "P", "S", "I")}
"""Letters at the left, right, top and bottom edge of each plane of a canonical volume."""

INK, BLACK = (255, 255, 255), (0, 0, 0)
GAP = 4
LETTERS_PX = 12
LOWEST_PX = 5 * LETTERS_PX
"""A panel of a few slices is set into black of this height, so that all its letters have room."""

Mark = tuple[str, tuple[float, float]]
"""A letter and its centre (column, row) in pixels."""


def annotate(
    image: Image.Image, plane: str, title: str, pixels_per_mm: float, marks: Iterable[Mark] = ()
) -> Image.Image:
    """Write the plane's letters at its edges, a title, a scale bar, and letters anywhere."""
    added = max(0, LOWEST_PX - image.height) // 2
    if added:
        image = ImageOps.expand(image, (0, added))
    draw = ImageDraw.Draw(image)
    width, height = image.size
    font = ImageFont.load_default(LETTERS_PX)
    left, right, top, bottom = EDGES[plane]
    beside_title = draw.textlength(title, font) + LETTERS_PX
    bar_mm = next((mm for mm in (50, 20, 10, 5) if mm * pixels_per_mm < width / 3), 1)
    end = (width - 6, height - 8)
    draw.line([(end[0] - bar_mm * pixels_per_mm, end[1]), end], INK, 2)
    for text, position, anchor in (
        (left, (4, height / 2), "lm"),
        (right, (width - 4, height / 2), "rm"),
        (top, (max(width / 2, beside_title), 3), "ma"),
        (bottom, (width / 2, height - 3), "md"),
        (title, (4, 3), "la"),
        (f"{bar_mm} mm", (end[0], end[1] - 3), "rd"),
        *((letter, (x, y + added), "mm") for letter, (x, y) in marks),
    ):
        draw.text(position, text, INK, font, anchor, stroke_width=1, stroke_fill=BLACK)
    return image


def beside(panels: Sequence[Image.Image]) -> Image.Image:
    """Panels in one row on black, centred in height."""
    height = max(panel.height for panel in panels)
    row = Image.new("RGB", (sum(panel.width for panel in panels) + GAP * (len(panels) - 1), height))
    x = 0
    for panel in panels:
        row.paste(panel, (x, (height - panel.height) // 2))
        x += panel.width + GAP
    return row


def below(rows: Sequence[Image.Image]) -> Image.Image:
    """Rows under each other: :func:`beside` of what is turned on its side."""
    turn = Image.Transpose.TRANSPOSE
    return beside([row.transpose(turn) for row in rows]).transpose(turn)
