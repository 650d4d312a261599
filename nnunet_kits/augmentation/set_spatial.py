"""The spatial steps of a set: drawn as the set says, and read by nnU-Net's transform or by our loops."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from scipy.ndimage import gaussian_filter

from nnunet_kits.augmentation.sets import AXES, SPATIAL, Step

REACH = 4
"""Standard deviations of a displacement that the margin of a patch has room for."""

TRUNCATE = 3.0
"""Standard deviations at which the kernel of a displacement ends. Source: MONAI, ``Rand3DElastic``."""


def smooth(volume: np.ndarray, sigma: float) -> np.ndarray:
    """A volume, blurred along every axis and reflected at its borders."""
    return gaussian_filter(volume, sigma, mode="mirror", truncate=TRUNCATE)  # type: ignore[no-any-return]


def rotation_matrix(degrees: Mapping[str, float], dimensions: int) -> np.ndarray:
    """The rotation about some of the axes z, y, x; patches of two dimensions turn about z."""
    matrix = np.eye(dimensions)
    for axis, angle in degrees.items():
        plane = [AXES[-dimensions:].index(other) for other in AXES if other != axis]
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        turn = np.eye(dimensions)
        turn[np.ix_(plane, plane)] = [[cosine, -sine], [sine, cosine]]
        matrix = matrix @ turn
    return matrix


class SetSpatial(SpatialTransform):  # type: ignore[misc]  # nnU-Net is untyped
    """nnU-Net's spatial transform with the draws of a set.

    The place of a voxel in the source, both from the middle: ``rotation @ (shares * (voxel + displacement) + shift)``.

    Args:
        patch_size: ([z,] y, x) of what comes out.
        steps: of a set; others than those that move voxels are passed over.
    """

    def __init__(self, patch_size: Sequence[int], steps: Iterable[Step]) -> None:
        super().__init__(tuple(patch_size), 0, False, border_mode_seg="constant", padding_value_seg=-1)
        self.steps = {step.kind: step for step in steps if step.kind in SPATIAL}
        self.axes = AXES[-len(self.patch_size) :]

    def _turned_about(self) -> list[str]:
        """Axes of the rotation; patches of two dimensions turn about z alone."""
        return [axis for axis in self.steps["rotation"].given["about"] if len(self.axes) == 3 or axis == "z"]

    def _is_done(self, kind: str) -> bool:
        return kind in self.steps and np.random.uniform() < self.steps[kind].probability

    def _drawn(self, kind: str, key: str) -> float:
        low, high = self.steps[kind].given[key]
        if not self.steps[kind].given.get("halves"):
            return float(np.random.uniform(low, high))
        below = np.random.uniform() < 0.5 and low < 1
        return float(np.random.uniform(low, min(high, 1)) if below else np.random.uniform(max(low, 1), high))

    def _chosen(self, kind: str) -> list[int]:
        """Numbers of the axes that a step is about."""
        return [number for number, axis in enumerate(self.axes) if axis in self.steps[kind].given["axes"]]

    def _factors(self, kind: str, key: str) -> np.ndarray:
        """Factors of the axes, 1 where a step does not reach."""
        chosen, factors = self._chosen(kind), np.ones(len(self.axes))
        draws = len(chosen) if self.steps[kind].given.get("each_axis") else 1
        factors[chosen] = [self._drawn(kind, key) for _ in range(draws)]
        return factors

    def draw(self, image: torch.Tensor, smoothed: Callable[[np.ndarray, float], np.ndarray] = smooth) -> dict[str, Any]:
        """Parameters for an image of which only the shape (channels, [z,] y, x) matters.

        Args:
            image: the image.
            smoothed: blurs a volume.

        Returns:
            nnU-Net's own but for the grid, and what they are made of: ``degrees``, ``shares``, ``shift``, ``sigma``,
            ``magnitude``; None where a step is not done.
        """
        size, dimensions = np.asarray(self.patch_size), len(self.axes)
        drawn: dict[str, Any] = dict.fromkeys(("degrees", "shares", "shift", "sigma", "magnitude"))
        shares, shift, turn = np.ones(dimensions), np.zeros(dimensions), np.eye(dimensions)
        if self._is_done("rotation"):
            drawn["degrees"] = {axis: self._drawn("rotation", "degrees") for axis in self._turned_about()}
            turn = rotation_matrix(drawn["degrees"], dimensions)
        if self._is_done("zoom"):
            drawn["shares"] = shares = shares / self._factors("zoom", "factor")
        if self._is_done("crop"):
            factors = self._factors("crop", "share")
            if self.steps["crop"].given.get("anywhere"):
                room = np.maximum(0, 1 - factors) * size / 2
                drawn["shift"] = shift = np.random.uniform(-room, room)
            drawn["shares"] = shares = shares * factors
        displacement = None
        if self._is_done("elastic"):
            drawn["sigma"] = self._drawn("elastic", "sigma_voxels")
            drawn["magnitude"] = self._drawn("elastic", "magnitude_voxels")
            displacement = self._displacement(drawn["sigma"], drawn["magnitude"], smoothed)
        moved = drawn["degrees"] is not None or drawn["shares"] is not None
        middle = np.asarray(image.shape[1:]) / 2
        drawn["affine"] = turn @ np.diag(shares) if moved else None
        drawn["center_location_in_pixels"] = (middle + turn @ shift).tolist()
        drawn["elastic_offsets"] = displacement
        return drawn

    def _displacement(self, sigma: float, magnitude: float, smoothed: Callable[..., np.ndarray]) -> torch.Tensor:
        """Even noise from -1 to 1, blurred, times the magnitude: (axes, *patch), voxels."""
        generator = np.random.default_rng(np.random.randint(2**31))
        noise = generator.random((len(self.axes), *self.patch_size), dtype=np.float32)
        noise *= 2
        noise -= 1
        for axis in noise:
            axis[...] = smoothed(axis, sigma)
        return torch.from_numpy(noise).mul_(magnitude)

    def _grid(self, drawn: Mapping[str, Any], shape: Sequence[int]) -> torch.Tensor:
        """The places of all voxels as torch's sampler takes them: (*patch, axes in reverse), -1 to 1."""
        places = self._get_base_grid_clone()
        if drawn["elastic_offsets"] is not None:
            places += drawn["elastic_offsets"].movedim(0, -1)
        if drawn["affine"] is not None:
            places = places @ torch.from_numpy(drawn["affine"].T).float()
        places += torch.tensor([c - s / 2 for c, s in zip(drawn["center_location_in_pixels"], shape, strict=True)])
        return (places / (torch.tensor([float(edge) for edge in shape]) / 2)).flip(-1)

    def get_parameters(self, **data_dict: Any) -> dict[str, Any]:
        """What :meth:`draw` draws, with the places of all voxels where any is moved."""
        image = data_dict["image"]
        drawn = self.draw(image)
        still = drawn["affine"] is None and drawn["elastic_offsets"] is None
        return {**drawn, "grid": None if still else self._grid(drawn, image.shape[1:])}

    def size_with_margin(self) -> list[int]:
        """The patch with all that its voxels may be read from; of a deformation nearly all."""
        size, dimensions = np.asarray(self.patch_size), len(self.axes)
        widest, turn = np.ones(dimensions), np.eye(dimensions)
        if "zoom" in self.steps:
            widest[self._chosen("zoom")] *= max(1, 1 / self.steps["zoom"].given["factor"][0])
        if "crop" in self.steps:
            widest[self._chosen("crop")] *= max(1, self.steps["crop"].given["share"][1])
        if "elastic" in self.steps:
            given = self.steps["elastic"].given
            sigma, magnitude = given["sigma_voxels"][0], given["magnitude_voxels"][1]
            deviation = magnitude / math.sqrt(3) * (2 * math.sqrt(math.pi) * sigma) ** (-dimensions / 2)
            size = size + 2 * math.ceil(REACH * deviation)
        if "rotation" in self.steps:
            angle = min(90, max(map(abs, self.steps["rotation"].given["degrees"])))
            for axis in self._turned_about():
                turn = turn @ np.maximum(np.eye(dimensions), np.abs(rotation_matrix({axis: angle}, dimensions)))
        return [math.ceil(edge - 1e-9) for edge in turn @ (widest * size)]
