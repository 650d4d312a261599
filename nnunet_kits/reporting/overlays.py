"""Pictures of one case: which planes are cut through it, and what is cropped from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nnunet_kits import geometry
from nnunet_kits.geometry import Box
from nnunet_kits.labels import Label
from nnunet_kits.reporting.canvas import GAP, Mark, annotate, below, beside
from nnunet_kits.reporting.shading import blend, largest_piece, letters, window

PAGE_WIDTH, MAXIMAL_HEIGHT = 1240, 520
"""Pixels that a row of panels fills at most; the report shows it as it is, so that letters stay legible."""

SLICES, SLICE_HEIGHT = 24, 230
"""Slices of a case to scroll through at most, and their height in pixels."""

STRIP_SLICES = 5
"""Slices of a case in its picture, at most."""

MARGIN_MM = 25.0
"""What is shown around the labelled region."""

BODY_HU = -300.0
"""Above this is patient (or table), below it is air."""


@dataclass(frozen=True)
class Case:
    """One case in canonical orientation (see :mod:`nnunet_kits.geometry`).

    Attributes:
        ct: (z, y, x) in HU.
        prediction: (z, y, x) label map.
        reference: (z, y, x) label map, or None.
        spacing_zyx_mm: voxel edges.
    """

    ct: NDArray[Any]
    prediction: NDArray[Any]
    reference: NDArray[Any] | None
    spacing_zyx_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Panel:
    """One plane of a case: where it is cut and what is cropped from it."""

    plane: str
    index: int
    box: Box
    overlay: bool = True

    def extent(self) -> list[tuple[int, tuple[int, int]]]:
        """(axis, interval) of the rows, then of the columns."""
        return [(axis, self.box[axis]) for axis in range(3) if geometry.PLANES[axis] != self.plane]


def render_planes(case: Case) -> list[Image.Image]:
    """Axial, coronal and sagittal plane with overlay, through the largest lesion, all to one scale."""
    box = body_box(case)
    indices = zip(geometry.PLANES, point_of_interest(case), strict=True)
    return _to_one_scale(case, [Panel(plane, index, box) for plane, index in indices])


def render_slices(case: Case) -> Iterator[tuple[int, Image.Image, Image.Image]]:
    """Axial slices from the top to the bottom of all that is labelled, cropped to it, evenly spaced, one by one.

    Yields:
        Index of the slice, CT alone, CT with overlay.
    """
    box, middles = _slices_through(case, SLICES)
    plain, overlaid = (Panel("axial", 0, box, overlay) for overlay in (False, True))
    rows_mm, columns_mm = _size_mm(case, plain)
    scale = min(SLICE_HEIGHT / rows_mm, 1.8 * SLICE_HEIGHT / columns_mm)
    for z in middles:
        at = int(z)
        yield at, _draw(case, replace(plain, index=at), scale), _draw(case, replace(overlaid, index=at), scale)


def render_strip(case: Case) -> Image.Image:
    """Axial slices from the top to the bottom of all that is labelled, cropped to it: above CT alone, below overlay."""
    box, middles = _slices_through(case, STRIP_SLICES)
    rows = ([Panel("axial", int(z), box, overlay) for z in middles] for overlay in (False, True))
    return below([beside(_to_one_scale(case, panels)) for panels in rows])


def point_of_interest(case: Case) -> tuple[int, int, int]:
    """Voxel (z, y, x) through which to cut.

    In order: the largest lesion (tumour or cyst) of the reference, of the prediction, the kidneys of either, the
    middle of the volume.
    """
    maps = [m for m in (case.reference, case.prediction) if m is not None]
    for members in ((Label.TUMOR, Label.CYST), (Label.KIDNEY,)):
        for labels in maps:
            mask = np.isin(labels, members)
            box = geometry.bounding_box(mask)
            if box is None:
                continue
            z, y, x = geometry.fullest_point(largest_piece(geometry.crop(mask, box)))
            return z + box[0][0], y + box[1][0], x + box[2][0]
    z, y, x = (length // 2 for length in case.ct.shape)
    return z, y, x


def labelled(case: Case) -> NDArray[np.bool_]:
    """Voxels that the prediction or the reference labels."""
    predicted: NDArray[np.bool_] = case.prediction > 0
    return predicted if case.reference is None else predicted | (case.reference > 0)


def body_box(case: Case) -> Box:
    """The patient in-plane, from every fourth voxel; along z what is labelled, and as much again as fills a panel."""
    step = 4
    body = geometry.bounding_box(case.ct[:, ::step, ::step] > BODY_HU)
    depth, height, width = case.ct.shape
    _, (y0, y1), (x0, x1) = body or ((0, depth), (0, height), (0, width))
    y, x = (y0 * step, min(height, y1 * step)), (x0 * step, min(width, x1 * step))
    found = geometry.bounding_box(labelled(case))
    if found is None:
        return (0, depth), y, x
    room_mm = (y[1] - y[0]) * case.spacing_zyx_mm[1] - (found[0][1] - found[0][0]) * case.spacing_zyx_mm[0]
    volume = geometry.whole_box(case.ct.shape)
    z, _, _ = geometry.grow_box(found, max(MARGIN_MM, room_mm / 2), case.spacing_zyx_mm, volume)
    return z, y, x


def _slices_through(case: Case, count: int) -> tuple[Box, NDArray[np.intp]]:
    """The labelled box with its margin, and the indices of slices evenly spaced from its top to its bottom."""
    box = geometry.bounding_box(labelled(case)) or body_box(case)
    top, bottom = box[0]
    borders = np.linspace(top, bottom, count + 1)
    middles = ((borders[:-1] + borders[1:]) / 2).astype(np.intp) if bottom - top > count else np.arange(top, bottom)
    return geometry.grow_box(box, MARGIN_MM, case.spacing_zyx_mm, geometry.whole_box(case.ct.shape)), middles


def _to_one_scale(case: Case, panels: Sequence[Panel]) -> list[Image.Image]:
    """Panels of as many pixels to the millimetre each, that side by side are as wide as the page at most."""
    sizes = [_size_mm(case, panel) for panel in panels]
    across, down = sum(columns for _, columns in sizes), max(rows for rows, _ in sizes)
    scale = min((PAGE_WIDTH - GAP * (len(panels) - 1)) / across, MAXIMAL_HEIGHT / down)
    return [_draw(case, panel, scale) for panel in panels]


def _size_mm(case: Case, panel: Panel) -> tuple[float, float]:
    """Extent of (rows, columns)."""
    rows, columns = ((stop - start) * case.spacing_zyx_mm[a] for a, (start, stop) in panel.extent())
    return rows, columns


def _draw(case: Case, panel: Panel, pixels_per_mm: float) -> Image.Image:
    """One plane with square pixels, overlay and letters."""
    rows, columns = (max(1, round(mm * pixels_per_mm)) for mm in _size_mm(case, panel))
    window_yx = tuple(slice(start, stop) for _, (start, stop) in panel.extent())

    def cut(volume: NDArray[Any]) -> NDArray[Any]:
        return geometry.plane_through(volume, panel.plane, panel.index)[window_yx]

    def enlarge(flat: NDArray[np.uint8], how: Image.Resampling) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(np.ascontiguousarray(flat)).resize((columns, rows), how))

    picture = enlarge(window(cut(case.ct)), Image.Resampling.BICUBIC)
    marks: list[Mark] = []
    if panel.overlay:
        prediction = enlarge(cut(case.prediction).astype(np.uint8), Image.Resampling.NEAREST)
        reference = None
        if case.reference is not None:
            reference = enlarge(cut(case.reference).astype(np.uint8), Image.Resampling.NEAREST)
        picture = blend(picture, prediction, reference)
        marks = letters(prediction, reference)
    length = case.ct.shape[geometry.PLANES.index(panel.plane)]
    title = f"{panel.plane} {panel.index + 1}/{length}"
    return annotate(Image.fromarray(picture).convert("RGB"), panel.plane, title, pixels_per_mm, marks)
