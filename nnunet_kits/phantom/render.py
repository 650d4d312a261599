"""From a seed to a phantom: draw a patient, paint it, and image it as a scanner would."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_kits.phantom import kidneys, trunk, viscera
from nnunet_kits.phantom.anatomy import Patient, draw_patient
from nnunet_kits.phantom.canvas import Canvas
from nnunet_kits.phantom.grid import Size, draw_grid, find_size

LOWEST_HU, HIGHEST_HU = -1024, 3071
"""Range of 12-bit CT numbers, as in KiTS."""


@dataclass(frozen=True)
class Phantom:
    """A synthetic abdominal CT and its labels; axes (slices, rows, columns) = (z, y, x) with axcodes ('I', 'P', 'L').

    Attributes:
        image: (z, y, x) float32, integer Hounsfield units in [-1024, 3071].
        label: (z, y, x) uint8, values of :class:`nnunet_kits.labels.Label`, cysts included.
        affine: (4, 4) voxel index to RAS millimetres.
        spacing_zyx_mm: voxel edges.
        patient: what was drawn.
    """

    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    affine: NDArray[np.float64]
    spacing_zyx_mm: tuple[float, float, float]
    patient: Patient


def make_phantom(case_number: int, seed: int = 0, size: str | Size = "small") -> Phantom:
    """Make one phantom; the same numbers give the same bytes.

    Args:
        case_number: the challenge's case number, 0 or more.
        seed: picks another set of patients.
        size: name of one of :data:`nnunet_kits.phantom.grid.SIZES`, or a size of your own. The patient is the same
            at every size.

    Raises:
        KitsError: no size has this name.
    """
    size = find_size(size)
    streams = [np.random.default_rng([seed, case_number, part]) for part in range(4)]
    patient = draw_patient(streams[0])
    body = patient.body
    middle_y = body.middle_y + (body.back - body.front) / 2
    grid = draw_grid(size, patient.field, middle_y, patient.z_range, streams[1])
    canvas = Canvas(grid, streams[2])
    _paint(canvas, patient, streams[2])
    image = _scan(canvas.hu, grid.spacing_zyx_mm, streams[3])
    return Phantom(image, canvas.label, grid.affine, grid.spacing_zyx_mm, patient)


def _paint(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """All organs, from those that give way to those that push others aside."""
    trunk.paint_wall(canvas, patient, rng)
    trunk.paint_chest(canvas, patient, rng)
    viscera.paint_mesentery(canvas, patient, rng)
    viscera.paint_stomach(canvas, patient, rng)
    viscera.paint_spleen(canvas, patient, rng)
    viscera.paint_bowel(canvas, patient, rng)
    viscera.paint_liver(canvas, patient, rng)
    spaces = [kidneys.measure(canvas, kidney, patient, rng) for kidney in patient.kidneys]
    for space in spaces:
        kidneys.paint_perirenal_fat(canvas, space, patient)
    trunk.paint_spine(canvas, patient, rng)
    trunk.paint_great_vessels(canvas, patient, rng)
    for space in spaces:
        kidneys.paint_adrenal(canvas, space.kidney, rng)
        kidneys.paint_renal_vessels(canvas, space.kidney, patient)
        kidneys.paint_kidney(canvas, space, patient, rng)
        kidneys.paint_lesions(canvas, space, rng)


def _scan(
    hu: NDArray[np.float32], spacing_zyx_mm: tuple[float, float, float], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Blur by slice thickness and reconstruction kernel, add noise that is smooth within a slice, round to integers."""
    _, dy, dx = spacing_zyx_mm
    blurred = ndimage.gaussian_filter(hu, (0.3, 0.55 / dy, 0.55 / dx), truncate=3.0)
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    kernel = (0.0, min(0.9, 0.8 / dy), min(0.9, 0.8 / dx))
    noise = ndimage.gaussian_filter(noise, kernel, truncate=3.0)
    noise *= np.float32(rng.uniform(9, 15)) / noise.std()
    integers: NDArray[np.float32] = np.clip(np.rint(blurred + noise), LOWEST_HU, HIGHEST_HU).astype(np.float32)
    return integers
