"""The parts of a case: kidneys by side, lesions by kidney, hilum of each kidney."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.components import Components, component_boxes, find_components, label_components
from nnunet_kits.geometry import Box, bounding_box, crop
from nnunet_kits.labels import REGIONS, Label
from nnunet_kits.measurement.frame import Frame
from nnunet_kits.measurement.sections import PolarLines, polar_lines
from nnunet_kits.measurement.sides import BOTH, LEFT, RIGHT, Midline, find_midline, sides_of_pieces

ORGAN = REGIONS["kidney_and_mass"]
SIDES = (RIGHT, LEFT, BOTH)


@dataclass(frozen=True)
class Part:
    """One structure.

    Attributes:
        name: ``kidney``, ``kidney_and_mass``, ``tumor`` or ``cyst``.
        component: 1 for kidneys; lesions are numbered from the largest of their kind.
        side: ``right``, ``left`` or ``both``.
        inside: the smallest box that holds it.
        mask: in that box.
        pieces: connected components.
    """

    name: str
    component: int
    side: str
    inside: Box
    mask: NDArray[np.bool_]
    pieces: int = 1


@dataclass(frozen=True)
class Kidney:
    """One kidney, or a horseshoe kidney.

    Attributes:
        parts: ``kidney`` and ``kidney_and_mass``, with loose pieces.
        parenchyma: (z, y, x) of the frame: kidney without lesions in the largest connected piece.
        polar_lines: None where they cannot be had.
    """

    parts: tuple[Part, Part]
    parenchyma: NDArray[np.bool_]
    polar_lines: PolarLines | None


@dataclass(frozen=True)
class Anatomy:
    """The parts of a case: side -> kidney, the lesions, and what divides left from right."""

    kidneys: dict[str, Kidney]
    lesions: tuple[Part, ...]
    midline: Midline


def find_anatomy(frame: Frame, middle_x_mm: float, min_volume_ml: float = 0.0) -> Anatomy:
    """Find the parts of a case.

    A piece of kidney belongs to the side that its centre is on. A lesion belongs to the kidney that it is connected to;
    where it is connected to none or to both, to the side that its own centre is on.

    Args:
        frame: the case.
        middle_x_mm: RAS x of the middle of the image.
        min_volume_ml: smaller lesions are no parts of their own.
    """
    kidney, organ = _components(frame, (Label.KIDNEY,)), _components(frame, ORGAN)
    midline, sides = _kidney_sides(frame, kidney, middle_x_mm)
    code = np.zeros(frame.labels.shape, np.uint8)  # 1, 2, 3 on the voxels of each of SIDES
    code.ravel()[kidney.places] = np.array([0, *sides], np.uint8)[kidney.ids_at_places]
    attached = _attached_sides(code, organ)
    lesions = [
        part
        for label in (Label.TUMOR, Label.CYST)
        for part in _lesions(frame, label, code, organ, attached, midline, min_volume_ml)
    ]
    kidneys = {SIDES[number - 1]: _kidney(frame, number, code, organ) for number in sorted(set(sides))}
    return Anatomy(kidneys, tuple(lesions), midline)


def _components(frame: Frame, members: Sequence[Label]) -> Components:
    found = find_components(frame.labels, members)
    assert found is not None  # a frame has foreground
    return found


def _kidney_sides(frame: Frame, kidney: Components, middle_x_mm: float) -> tuple[Midline, list[int]]:
    """The midline, and 1, 2 or 3 for the side of each piece of kidney."""
    ids, voxels, x_mm = kidney.ids_at_places.astype(np.intp), kidney.voxels[1:], frame.x_mm(kidney.places)
    centres = np.bincount(ids, weights=x_mm, minlength=len(voxels) + 1)[1:] / np.maximum(voxels, 1)
    midline = find_midline(centres, voxels, middle_x_mm)
    return midline, [SIDES.index(side) + 1 for side in sides_of_pieces(ids, x_mm, voxels, midline)]


def _attached_sides(code: NDArray[np.uint8], organ: Components) -> NDArray[np.bool_]:
    """(count + 1, 3) whether a connected piece of kidney with lesions holds kidney of each side."""
    sides = code.ravel()[organ.places].astype(np.intp)
    votes = np.bincount(organ.ids_at_places.astype(np.intp) * 4 + sides, minlength=4 * (organ.count + 1))
    held: NDArray[np.bool_] = votes.reshape(-1, 4)[:, 1:] > 0
    return held


def _lesions(
    frame: Frame,
    label: Label,
    code: NDArray[np.uint8],
    organ: Components,
    attached: NDArray[np.bool_],
    midline: Midline,
    min_volume_ml: float,
) -> Iterator[Part]:
    """The components of one kind of lesion, largest first; their voxels get their side's number in ``code``."""
    found = _components(frame, (label,))
    if not found.count:
        return
    ids = found.ids_at_places.astype(np.intp)
    centres = np.bincount(ids, weights=frame.x_mm(found.places))[1:] / found.voxels[1:]
    first = np.unique(ids, return_index=True)[1]
    piece = organ.ids.ravel()[found.places[first]]
    horseshoe = bool((code == SIDES.index(BOTH) + 1).any())
    numbers = np.zeros(found.count + 1, np.uint8)
    for component in range(1, found.count + 1):
        held = np.flatnonzero(attached[piece[component - 1]])
        own = BOTH if horseshoe else midline.side_of(centres[component - 1])
        numbers[component] = held[0] + 1 if len(held) == 1 else SIDES.index(own) + 1
    code.ravel()[found.places] = numbers[ids]
    boxes = component_boxes(found.ids)
    for rank, component in enumerate(np.argsort(-found.voxels[1:], kind="stable") + 1, 1):
        if found.voxels[component] * frame.voxel_ml < min_volume_ml:
            return
        inside = boxes[component - 1]
        yield Part(
            label.name.lower(), rank, SIDES[numbers[component] - 1], inside, crop(found.ids, inside) == component
        )


def _kidney(frame: Frame, number: int, code: NDArray[np.uint8], organ: Components) -> Kidney:
    """The kidney of one side."""
    own, side = code == number, SIDES[number - 1]
    kidney = own & (frame.labels == Label.KIDNEY)
    main = own & (organ.ids == np.bincount(organ.ids[kidney]).argmax())
    lines = None if side == BOTH else polar_lines(main, 1 if side == RIGHT else -1, frame.spacing_zyx_mm)
    parts = (_part("kidney", side, kidney), _part("kidney_and_mass", side, own))
    return Kidney(parts, main & kidney, lines)


def _part(name: str, side: str, mask: NDArray[np.bool_]) -> Part:
    inside = bounding_box(mask)
    assert inside is not None  # a side is only named where it has kidney
    part = np.ascontiguousarray(crop(mask, inside))
    return Part(name, 1, side, inside, part, int(label_components(part).max()))
