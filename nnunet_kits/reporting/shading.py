"""What a plane looks like: HU as grey, the prediction filled in, the reference outlined, a letter on each label."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_kits.labels import Label
from nnunet_kits.palette import LABEL_COLOURS, LABEL_NAMES, Colour
from nnunet_kits.reporting.canvas import LETTERS_PX, Mark

WINDOW_LEVEL_HU, WINDOW_WIDTH_HU = 40.0, 400.0
"""The soft-tissue window of an abdominal CT."""

WINDOWS_HU: dict[str, tuple[float, float]] = {
    "kidney": (WINDOW_LEVEL_HU, WINDOW_WIDTH_HU),
    "abdomen": (50.0, 400.0),
    "renal mass (narrow)": (30.0, 150.0),
    "bone": (400.0, 1800.0),
    "lung": (-600.0, 1500.0),
}
"""Level and width of the viewer's windows: that of the pictures, and usual ones.

Source: Radiopaedia, "Windowing (CT)", https://radiopaedia.org/articles/windowing-ct: soft tissues of the abdomen, liver
(here for masses, whose enhancement it tells apart as it does the liver's), bone of the spine, lungs.
"""

FILL = 0.4
"""Opacity of the prediction."""


def window(hu: NDArray[Any]) -> NDArray[np.uint8]:
    """HU to grey: level - width / 2 and below is black, level + width / 2 and above white; NaN is black."""
    scaled = (np.nan_to_num(hu.astype(np.float32), nan=-1e4) - WINDOW_LEVEL_HU) / WINDOW_WIDTH_HU + 0.5
    grey: NDArray[np.uint8] = np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return grey


def blend(grey: NDArray[np.uint8], prediction: NDArray[Any], reference: NDArray[Any] | None) -> NDArray[np.uint8]:
    """Fill the prediction, outline the reference.

    Args:
        grey: (rows, columns).
        prediction: (rows, columns) label map.
        reference: (rows, columns) label map, or None.

    Returns:
        (rows, columns, 3) RGB.
    """
    rgb = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    for label, colour in LABEL_COLOURS.items():
        inside = prediction == label
        rgb[inside] = (1 - FILL) * rgb[inside] + FILL * np.asarray(colour, np.float32)
    if reference is not None:
        for label, colour in LABEL_COLOURS.items():
            mask = reference == label
            rgb[mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=2, border_value=1)] = colour
    return np.round(rgb).astype(np.uint8)


def legend_colours() -> dict[Label, Colour]:
    """What each label's filling looks like on soft tissue."""
    tissue = window(np.array([[WINDOW_LEVEL_HU]]))
    fills = {label: blend(tissue, np.full((1, 1), label), None)[0, 0] for label in LABEL_COLOURS}
    return {label: (int(red), int(green), int(blue)) for label, (red, green, blue) in fills.items()}


def letters(prediction: NDArray[np.uint8], reference: NDArray[np.uint8] | None) -> list[Mark]:
    """A letter for each label of a plane, so that colours need not be told apart: in its largest piece, or beside it.

    Args:
        prediction: (rows, columns) label map in pixels.
        reference: (rows, columns), or None. What either has gets its letter, a kidney where neither has a lesion.
    """
    marks = []
    taken = np.zeros(prediction.shape, np.bool_)
    for label, name in reversed(LABEL_NAMES.items()):
        mask = prediction == label if reference is None else (prediction == label) | (reference == label)
        mask &= ~taken
        if not mask.any():
            continue
        taken |= mask
        largest = largest_piece(mask)
        ((rows, columns),) = ndimage.find_objects(largest.astype(np.uint8))
        depth = ndimage.distance_transform_edt(np.pad(largest[rows, columns], 1))[1:-1, 1:-1]
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        room = float(depth.max())
        aside = 0.0 if room > LETTERS_PX else room + LETTERS_PX / 2
        marks.append((name[0], (float(columns.start + column) + aside, float(rows.start + row))))
    return marks


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected component of a mask that is not empty, joined over faces."""
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest: NDArray[np.bool_] = pieces == sizes.argmax()
    return largest
