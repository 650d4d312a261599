"""How a scan lies in its array, and how it must lie for a model.

nnU-Net's readers give (z, y, x): a file's axes reversed, as they are stored or turned to right, anterior, superior. A
network knows patients as they lay in its training. A model whose orientation is known is shown the scan so, whoever
read it; the coarse model may want another one than the fine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from nnunet_kits.errors import InferenceError
from nnunet_kits.geometry import Box

PAIRS = {letter: pair for pair in ("LR", "AP", "IS") for letter in pair}
"""Direction -> the axis of the body that it is along."""

TURNING = {"NibabelIOWithReorient": "RAS", "SimpleITKIOWithReorient": "RAS"}
"""nnU-Net's readers that turn every scan, and to which orientation."""

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Axes:
    """Directions in which the axes of an array run, one letter each: ``SPL`` is upwards, backwards, to the left.

    Attributes:
        read: of the array as a reader gave it.
        stored: of the file, reversed as readers do.
    """

    read: str
    stored: str


def axes_of(properties: Mapping[str, Any]) -> Axes | None:
    """What a reader of nnU-Net tells of the axes of a scan; None where it tells nothing of them."""
    nibabel, simpleitk = properties.get("nibabel_stuff"), properties.get("sitk_stuff")
    if nibabel is not None:
        stored = _codes(np.asarray(nibabel["original_affine"]))
        turned = nibabel.get("reoriented_affine")
        return Axes(stored if turned is None else _codes(np.asarray(turned)), stored)
    if simpleitk is not None and len(simpleitk["direction"]) == 9:
        affine = np.eye(4)
        affine[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ np.reshape(simpleitk["direction"], (3, 3))
        original = simpleitk.get("original_orientation")
        return Axes(_codes(affine), _codes(affine) if original is None else str(original)[::-1])
    return None


def _codes(affine: NDArray[np.float64]) -> str:
    return "".join(str(code) for code in aff2axcodes(affine)[::-1])


@dataclass(frozen=True)
class Turn:
    """From one orientation of an array to another: axes change places, then some are reversed.

    Attributes:
        axes: the array's axis for each of the turned one's.
        reversed: which axes of the turned one run the other way.
    """

    axes: tuple[int, int, int] = (0, 1, 2)
    reversed: tuple[bool, bool, bool] = (False, False, False)

    @property
    def is_none(self) -> bool:
        """Whether it leaves arrays as they are."""
        return self == Turn()

    def __call__(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """An array, turned: a view."""
        steps = tuple(slice(None, None, -1 if backwards else 1) for backwards in self.reversed)
        return array.transpose(self.axes)[steps]

    def back(self, turned: NDArray[Scalar]) -> NDArray[Scalar]:
        """A turned array as it lay before; a contiguous copy, unless nothing was turned."""
        if self.is_none:
            return turned
        steps = tuple(slice(None, None, -1 if backwards else 1) for backwards in self.reversed)
        return np.ascontiguousarray(turned[steps].transpose(np.argsort(self.axes)))

    def along(self, of_axes: Sequence[float]) -> tuple[float, float, float]:
        """Something of each axis, such as its spacing, in the turned order."""
        z, y, x = (of_axes[axis] for axis in self.axes)
        return z, y, x

    def box(self, box: Box, shape: Sequence[int]) -> Box:
        """A box of the array, in the turned one; ``shape`` is the array's."""
        z, y, x = (
            _mirrored(box[axis], shape[axis]) if backwards else box[axis]
            for axis, backwards in zip(self.axes, self.reversed, strict=True)
        )
        return z, y, x

    def box_back(self, box: Box, shape: Sequence[int]) -> Box:
        """A box of the turned array, in the array; ``shape`` is the array's."""
        found: list[tuple[int, int]] = [(0, 0)] * 3
        for axis, backwards, part in zip(self.axes, self.reversed, box, strict=True):
            found[axis] = _mirrored(part, shape[axis]) if backwards else part
        return found[0], found[1], found[2]


def _mirrored(part: tuple[int, int], size: int) -> tuple[int, int]:
    return size - part[1], size - part[0]


def turn_between(there: str, wanted: str) -> Turn:
    """From axes that run in some directions to axes that run in others."""
    axes = [[PAIRS[letter] for letter in there].index(PAIRS[letter]) for letter in wanted]
    backwards = [there[axis] != letter for axis, letter in zip(axes, wanted, strict=True)]
    return Turn((axes[0], axes[1], axes[2]), (backwards[0], backwards[1], backwards[2]))


def fine_axes(orientation: str | None, axes: Axes | None, model: str) -> str | None:
    """In which directions the axes run that a model is shown, whose reader gave the scan; None where nobody knows.

    Raises:
        InferenceError: its orientation is known, but not the scan's.
    """
    if orientation is None:
        return None if axes is None else axes.read
    if axes is None:
        raise InferenceError(
            f"{model}: was trained on scans turned to {orientation}, but this file tells no directions. Convert it "
            "to NIfTI with an affine."
        )
    return orientation[::-1]


def coarse_turn(orientation: str | None, reader: str, fine_reader: str, shown: str | None, axes: Axes | None) -> Turn:
    """From what the fine model is shown to what the coarse one is.

    Args:
        orientation: of the coarse model, or None.
        reader: of the coarse model.
        fine_reader: of the fine model, by which the scan was read.
        shown: directions of the axes that the fine model is shown, or None where nobody knows.
        axes: of the scan, or None.

    Raises:
        InferenceError: the models want scans to lie otherwise, but this one does not tell how it lies.
    """
    if axes is None or shown is None:
        if orientation is None and reader == fine_reader:
            return Turn()
        raise InferenceError(
            "the coarse model reads scans otherwise than the fine one, and this file tells no directions. Convert "
            "it to NIfTI with an affine."
        )
    if orientation is not None:
        return turn_between(shown, orientation[::-1])
    if reader in TURNING:
        return turn_between(shown, TURNING[reader][::-1])
    return turn_between(shown, axes.read if reader == fine_reader else axes.stored)
