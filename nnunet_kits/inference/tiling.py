"""Where the windows of a network lie, which flips of them it sees, and how what it says is averaged."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from nnunet_kits.errors import InferenceError
from nnunet_kits.geometry import Box
from nnunet_kits.values import is_share

Starts = tuple[int, ...]
"""First voxel of a window along z, y, x."""

AXES = ("z", "y", "x")
"""Names of a model's axes, in its own order (``transpose_forward``); a two-dimensional network has no z."""

Placement = Literal["even", "back"]
Weighting = Literal["gaussian", "uniform"]
Average = Literal["logits", "probabilities"]
Padding = Literal["zero", "lowest"]


@dataclass(frozen=True)
class Windows:
    """How a network is led over a volume; the defaults are nnU-Net's.

    Attributes:
        step: distance of neighbouring windows along z, y, x as a share of the window, above 0 and at most 1.
        placement: ``even``: as few windows as reach from end to end with steps of at most that share, all steps equal;
            ``back``: steps of exactly that share, and the last window moved back to end with the volume.
        padding: what surrounds a volume that is smaller than a window, of the normalised intensities: ``zero``, or
            the ``lowest`` that the plans let through.
        weighting: of a window's voxels: ``gaussian`` falls towards its sides, ``uniform`` does not.
        mirror_axes: over whose flips is averaged, ``z``, ``y`` and ``x``; None for those that training mirrored.
        average: what is averaged over flips, windows and folds: ``logits``, or ``probabilities``.
    """

    step: tuple[float, float, float] = (0.5, 0.5, 0.5)
    placement: Placement = "even"
    padding: Padding = "zero"
    weighting: Weighting = "gaussian"
    mirror_axes: tuple[str, ...] | None = None
    average: Average = "logits"

    def __post_init__(self) -> None:
        for share in self.step:
            if not is_share(share):
                raise InferenceError(f"step {share!r}: is a share of the window, above 0 and at most 1.")
        for name, kind in (
            ("placement", Placement),
            ("padding", Padding),
            ("weighting", Weighting),
            ("average", Average),
        ):
            if getattr(self, name) not in get_args(kind):
                raise InferenceError(f"{name} {getattr(self, name)!r}: is {' or '.join(get_args(kind))}.")
        axes = self.mirror_axes
        if axes is not None and (len(set(axes)) < len(axes) or not set(axes) <= set(AXES)):
            raise InferenceError(f"mirror_axes {list(axes)}: are {', '.join(AXES)}, each at most once, or none.")

    @classmethod
    def from_json(cls, content: Any, where: str) -> "Windows":
        """From a JSON object; what it leaves out is as nnU-Net has it.

        Args:
            content: ``{"step": 0.5 | [1, 1, 1], "placement": ..., ...}``.
            where: what holds it, for messages.

        Raises:
            InferenceError: an unknown key, or a value that is not allowed.
        """
        if not isinstance(content, dict) or not set(content) <= set(cls.__dataclass_fields__):
            raise InferenceError(f"{where}: {content!r}: its keys are {', '.join(cls.__dataclass_fields__)}.")
        found = dict(content)
        if "step" in found:
            step = found["step"] if isinstance(found["step"], list) else [found["step"]] * 3
            if len(step) != 3:
                raise InferenceError(f"{where}: step {step}: is one share, or three along z, y, x.")
            found["step"] = tuple(step)
        if found.get("mirror_axes") is not None:
            if not isinstance(found["mirror_axes"], list):
                raise InferenceError(f"{where}: mirror_axes {found['mirror_axes']!r}: is a list of axes, or null.")
            found["mirror_axes"] = tuple(map(str, found["mirror_axes"]))
        try:
            return cls(**found)
        except InferenceError as error:
            raise InferenceError(f"{where}: {error}") from error


@dataclass(frozen=True)
class Tiling:
    """How a block is covered.

    Attributes:
        patch_size: voxels of a window along z, y, x; a two-dimensional network has (1, y, x).
        step: distance of neighbouring windows as a share of the window, in (0, 1]; of all axes, or along z, y, x.
        mirror_axes: axes (0 to 2 for z, y, x) over whose flips predictions are averaged.
        placement: see :class:`Windows`.
        weighting: see :class:`Windows`.
        padding: normalised intensity around a block that is smaller than a window.
        only: of the flips, the one over these axes; None for all.
    """

    patch_size: tuple[int, int, int]
    step: float | tuple[float, float, float] = 0.5
    mirror_axes: tuple[int, ...] = ()
    placement: Placement = "even"
    weighting: Weighting = "gaussian"
    padding: float = 0.0
    only: tuple[int, ...] | None = None

    def starts(self, shape: Sequence[int], part: Box | None = None) -> list[Starts]:
        """Windows over a volume (padded to at least one window); by default nnU-Net's own positions.

        Args:
            shape: voxels along z, y, x.
            part: only the windows inside it, counted from its corner; made by :meth:`cover`.
        """
        axes = self._positions(shape)
        if part is not None:
            axes = [
                [at - first for at in axis if first <= at < max(first + 1, stop - patch + 1)]
                for axis, (first, stop), patch in zip(axes, part, self.patch_size, strict=True)
            ]
        return list(itertools.product(*axes))

    def cover(self, shape: Sequence[int], box: Box) -> Box:
        """The smallest part of a volume that is made of its windows and holds a box.

        Inside it every voxel is seen in the same windows as in the whole volume; only near its sides some are lacking.

        Args:
            shape: voxels of the volume along z, y, x.
            box: of the volume.
        """
        found = []
        for axis, size, patch, (start, stop) in zip(self._positions(shape), shape, self.patch_size, box, strict=True):
            first = max(at for at in axis if at <= start)
            last = min(at for at in axis if at + patch >= stop)
            found.append((min(first, last), min(size, max(first, last) + patch)))
        return found[0], found[1], found[2]

    def _positions(self, shape: Sequence[int]) -> list[Sequence[int]]:
        """Where windows start along each axis."""
        from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window  # imports torch

        steps = self.step if isinstance(self.step, tuple) else (self.step,) * 3
        found: list[Sequence[int]] = []
        for size, patch, step in zip(shape, self.patch_size, steps, strict=True):
            size = max(size, patch)
            if patch == 1:
                found.append(range(size))
            elif self.placement == "back":
                found.append([*range(0, size - patch, max(1, round(patch * step))), size - patch])
            else:
                found.append(compute_steps_for_sliding_window((size,), (patch,), step)[0])
        return found

    def flips(self) -> list[tuple[int, ...]]:
        """Every combination of mirrored axes, none first; or the one that is asked for."""
        if self.only is not None:
            return [self.only]
        return [c for n in range(len(self.mirror_axes) + 1) for c in itertools.combinations(self.mirror_axes, n)]
