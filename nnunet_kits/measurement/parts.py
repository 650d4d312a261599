"""Which voxel of a label map belongs to which kidney or lesion, by the rules that the measures follow."""

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import MeasurementError
from nnunet_kits.geometry import bounding_box, crop, to_canonical
from nnunet_kits.measurement.anatomy import Part, find_anatomy
from nnunet_kits.measurement.frame import make_frame

MOST = int(np.iinfo(np.uint16).max)


def numbered_parts(
    labels: NDArray[np.uint8], affine: NDArray[np.float64], middle_x_mm: float
) -> tuple[NDArray[np.uint16], tuple[Part, ...]]:
    """Number the kidneys and lesions of a label map. Each voxel that is not background belongs to one.

    Args:
        labels: three-dimensional label map with KiTS labels, in the axis order that ``affine`` describes.
        affine: (4, 4) voxel index to RAS millimetres.
        middle_x_mm: RAS x of the middle of the whole image.

    Returns:
        Numbers in the label map's own shape, 0 for background, and the parts from number 1 on, as they are measured:
        ``kidney`` by side, then tumours, then cysts.

    Raises:
        MeasurementError: more than 65535 parts.
    """
    numbers = np.zeros(labels.shape, np.uint16)
    frame, inside = make_frame(labels, affine), bounding_box(labels)
    if frame is None or inside is None:
        return numbers, ()
    anatomy = find_anatomy(frame, middle_x_mm)
    parts = (*(kidney.parts[0] for kidney in anatomy.kidneys.values()), *anatomy.lesions)
    if len(parts) > MOST:
        raise MeasurementError(
            f"the label map has {len(parts)} kidneys and lesions; {MOST} is the most. Clean it first."
        )
    turned = to_canonical(crop(numbers, inside), affine)  # a view: what is written into it is in ``numbers``
    for number, part in enumerate(parts, 1):
        crop(turned, part.inside)[part.mask] = number
    return numbers, parts
