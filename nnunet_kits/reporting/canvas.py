"""Panels of pictures: letters at the edges, a title, a scale bar, several side by side."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

EDGES = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "S", "I"), "sagittal": ("A", "P", "S", "I")}
"""Letters at the left, right, top and bottom edge of each plane of a canonical volume."""

INK = (255, 255, 255)
GAP = 4
ROOM_FOR_LETTERS = 200


def annotate(image: Image.Image, plane: str, title: str, pixels_per_mm: float) -> Image.Image:
    """Write the plane's letters at the edges (low panels: the sides alone), a title and a scale bar."""
    draw = ImageDraw.Draw(image)
    width, height = image.size
    font = ImageFont.load_default(12)
    left, right, top, bottom = EDGES[plane]
    places: list[tuple[str, tuple[float, float], str]] = [
        (left, (4, height / 2), "lm"),
        (right, (width - 4, height / 2), "rm"),
        (title, (4, 3), "la"),
    ]
    if height > ROOM_FOR_LETTERS:
        places += [(top, (width / 2, 3), "ma"), (bottom, (width / 2, height - 3), "md")]
    for text, position, anchor in places:
        draw.text(position, text, INK, font, anchor, stroke_width=1, stroke_fill=(0, 0, 0))
    bar_mm = next((mm for mm in (50, 20, 10, 5) if mm * pixels_per_mm < width / 3), 1)
    end = (width - 6, height - 8)
    draw.line([(end[0] - bar_mm * pixels_per_mm, end[1]), end], INK, 2)
    draw.text((end[0], end[1] - 3), f"{bar_mm} mm", INK, font, "rd", stroke_width=1, stroke_fill=(0, 0, 0))
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
    """Rows of one width under each other."""
    column = Image.new("RGB", (rows[0].width, sum(row.height for row in rows) + GAP * (len(rows) - 1)))
    y = 0
    for row in rows:
        column.paste(row, (0, y))
        y += row.height + GAP
    return column
