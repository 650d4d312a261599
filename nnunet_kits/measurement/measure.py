"""Measure a label map: each kidney, each tumour, each cyst.

All lengths are taken in millimetres through the affine, so that no orientation, spacing or tilt of the grid changes
them. Axial planes are those across the file axis that runs closest to head to feet.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import MeasurementError
from nnunet_kits.geometry import crop
from nnunet_kits.measurement.anatomy import Anatomy, Kidney, Part, find_anatomy
from nnunet_kits.measurement.frame import Frame, make_frame
from nnunet_kits.measurement.lengths import axial_diameter, diameter_3d
from nnunet_kits.measurement.sections import exophytic_share

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Measure:
    """What is measured of one structure; None where it cannot be had.

    Attributes:
        structure: ``kidney`` (parenchyma of one side), ``kidney_and_mass`` (with its tumours and cysts), ``tumor``,
            ``cyst`` (one component each).
        component: 1 for kidneys; lesions are numbered from the largest of their kind, over both sides.
        side: the patient's ``left`` or ``right``; ``both`` for a horseshoe kidney and its lesions.
        volume_ml: voxels times their volume.
        axial_diameter_cm: largest diameter within one axial plane.
        diameter_3d_cm: largest diameter in any direction.
        equivalent_diameter_cm: of the ball of the same volume.
        centre_x_mm: x of the centre of mass in RAS: grows to the patient's right.
        centre_y_mm: y of the centre of mass in RAS: grows to the front.
        centre_z_mm: z of the centre of mass in RAS: grows to the head.
        centre_i: voxel index of the centre of mass along the file's first axis, from 0.
        centre_j: the same along the second axis.
        centre_k: the same along the third axis.
        hu_mean: mean of the image over the structure.
        hu_sd: standard deviation of it.
        exophytic_share: of a lesion: share of its volume outside the kidney's own outline.
        above_upper_polar_line_share: of a lesion: share of its volume above the upper polar line.
        below_lower_polar_line_share: of a lesion: share of its volume below the lower polar line.
        centre_below_upper_polar_line_mm: of a lesion: how far its centre lies below the upper polar line; above it,
            negative.
        centre_above_lower_polar_line_mm: of a lesion: how far its centre lies above the lower polar line; below it,
            negative.
        pieces: connected components; more than 1 only for kidneys.
        axial_diameter_ends_mm: both ends of the axial diameter in RAS; not in the table.
    """

    structure: str
    component: int
    side: str
    volume_ml: float
    axial_diameter_cm: float
    diameter_3d_cm: float
    equivalent_diameter_cm: float
    centre_x_mm: float
    centre_y_mm: float
    centre_z_mm: float
    centre_i: float
    centre_j: float
    centre_k: float
    hu_mean: float | None
    hu_sd: float | None
    exophytic_share: float | None
    above_upper_polar_line_share: float | None
    below_lower_polar_line_share: float | None
    centre_below_upper_polar_line_mm: float | None
    centre_above_lower_polar_line_mm: float | None
    pieces: int
    axial_diameter_ends_mm: tuple[Point, Point]


COLUMNS = tuple(f.name for f in fields(Measure) if f.name != "axial_diameter_ends_mm")
"""Columns of the table, after the case."""


@dataclass(frozen=True)
class Measures:
    """What is measured of one case.

    Attributes:
        midline_x_mm: RAS x that divides left from right.
        midline_source: ``kidneys`` where it lies half-way between the two, ``image`` where it is the image's middle.
        polar_lines_z_mm: side -> RAS z of the upper and the lower polar line at the kidney's centre, where they can be
            had.
        structures: kidneys first, then tumours, then cysts.
        remarks: what a reader should be told, see :mod:`nnunet_kits.measurement.remarks`.
    """

    midline_x_mm: float
    midline_source: str
    polar_lines_z_mm: dict[str, tuple[float, float]] = field(default_factory=dict)
    structures: tuple[Measure, ...] = ()
    remarks: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Measures":
        """From what :meth:`as_json` returned, or what JSON made of it."""
        structures = tuple(
            Measure(**{**m, "axial_diameter_ends_mm": tuple(tuple(end) for end in m["axial_diameter_ends_mm"])})
            for m in content["structures"]
        )
        lines = {side: (upper, lower) for side, (upper, lower) in content["polar_lines_z_mm"].items()}
        remarks = tuple(content.get("remarks", ()))
        return cls(content["midline_x_mm"], content["midline_source"], lines, structures, remarks)

    def moved(self, planes: int) -> "Measures":
        """The same with voxel indices counted from so many planes before, along the third axis."""
        return replace(self, structures=tuple(replace(m, centre_k=m.centre_k + planes) for m in self.structures))


def measure_labels(
    labels: NDArray[np.uint8],
    affine: NDArray[np.float64],
    image: NDArray[np.generic] | None = None,
    min_volume_ml: float = 0.0,
    middle_x_mm: float | None = None,
) -> Measures:
    """Measure the kidneys, tumours and cysts of a label map.

    Args:
        labels: three-dimensional label map with KiTS labels, in the axis order that ``affine`` describes.
        affine: (4, 4) voxel index to RAS millimetres; it may be tilted.
        image: CT on the same grid, for the mean HU.
        min_volume_ml: smaller lesions are left out.
        middle_x_mm: RAS x of the middle of the whole image, where ``labels`` is only a part of it.

    Raises:
        MeasurementError: image and labels of different shapes, or a singular affine.
    """
    if image is not None and image.shape != labels.shape:
        raise MeasurementError(f"the image is {image.shape}, but the label map is {labels.shape} voxels.")
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise MeasurementError(f"the affine {np.asarray(affine).tolist()} is singular, so there are no millimetres.")
    if middle_x_mm is None:
        middle_x_mm = middle_of(labels.shape, affine)
    frame = make_frame(labels, affine, image)
    if frame is None:
        return Measures(middle_x_mm, "image")
    anatomy = find_anatomy(frame, middle_x_mm, min_volume_ml)
    kidneys = [part for kidney in anatomy.kidneys.values() for part in kidney.parts]
    found = [_measured(frame, part, None) for part in kidneys]
    found += [_measured(frame, part, anatomy.kidneys.get(part.side)) for part in anatomy.lesions]
    midline = anatomy.midline
    return Measures(midline.x_mm, midline.source, _polar_lines_z_mm(frame, anatomy), tuple(found))


def middle_of(shape: tuple[int, ...], affine: NDArray[np.float64]) -> float:
    """RAS x of the middle of an image."""
    return float(affine[0, :3] @ ((np.array(shape) - 1) / 2) + affine[0, 3])


def _measured(frame: Frame, part: Part, kidney: Kidney | None) -> Measure:
    """The measures of a part; ``kidney`` is the one that a lesion belongs to."""
    start = np.array([first for first, _ in part.inside], float)
    voxels = np.argwhere(part.mask)
    volume_ml = len(voxels) * frame.voxel_ml
    centre_zyx = voxels.mean(axis=0) + start
    (centre_mm,) = frame.to_mm(centre_zyx[None])
    axial = axial_diameter(part.mask, frame.steps_mm)
    values = None if frame.image is None else crop(frame.image, part.inside)[part.mask].astype(np.float64)
    first, second = (tuple(end) for end in frame.to_mm(axial.ends_zyx + start).tolist())
    x, y, z = centre_mm.tolist()
    i, j, k = frame.to_file(centre_mm).tolist()
    share, above, below, from_upper, from_lower = _in_kidney(frame, part, kidney, float(centre_zyx[0]))
    return Measure(
        structure=part.name,
        component=part.component,
        side=part.side,
        volume_ml=volume_ml,
        axial_diameter_cm=axial.mm / 10,
        diameter_3d_cm=diameter_3d(part.mask, frame.steps_mm).mm / 10,
        equivalent_diameter_cm=2 * (3 * volume_ml / (4 * np.pi)) ** (1 / 3),
        centre_x_mm=x,
        centre_y_mm=y,
        centre_z_mm=z,
        centre_i=i,
        centre_j=j,
        centre_k=k,
        hu_mean=None if values is None else float(values.mean()),
        hu_sd=None if values is None else float(values.std()),
        exophytic_share=share,
        above_upper_polar_line_share=above,
        below_lower_polar_line_share=below,
        centre_below_upper_polar_line_mm=from_upper,
        centre_above_lower_polar_line_mm=from_lower,
        pieces=part.pieces,
        axial_diameter_ends_mm=(first, second),
    )


def _in_kidney(
    frame: Frame, part: Part, kidney: Kidney | None, centre_z: float
) -> tuple[float | None, float | None, float | None, float | None, float | None]:
    """Exophytic share, shares beyond both polar lines, distances of the centre to both."""
    if kidney is None:
        return None, None, None, None, None
    share = exophytic_share(part.mask, part.inside, kidney.parenchyma)
    lines = kidney.polar_lines
    if lines is None:
        return share, None, None, None, None
    count = np.count_nonzero(part.mask, axis=(1, 2))
    z = np.arange(*part.inside[0])
    above, below = (float(count[beyond].sum() / count.sum()) for beyond in (z < lines.upper, z > lines.lower))
    return share, above, below, (centre_z - lines.upper) * frame.plane_mm, (lines.lower - centre_z) * frame.plane_mm


def _polar_lines_z_mm(frame: Frame, anatomy: Anatomy) -> dict[str, tuple[float, float]]:
    """Side -> RAS z of both polar lines at the centre of the kidney's section in the frame."""
    found = {}
    for side, kidney in anatomy.kidneys.items():
        if kidney.polar_lines is not None:
            centre = np.argwhere(kidney.parenchyma).mean(axis=0)
            ends = np.array([[z, *centre[1:]] for z in (kidney.polar_lines.upper, kidney.polar_lines.lower)])
            upper, lower = frame.to_mm(ends)[:, 2].tolist()
            found[side] = (upper, lower)
    return found
