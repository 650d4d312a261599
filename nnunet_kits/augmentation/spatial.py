"""The spatial transform: nnU-Net's parameters and draws, one loop over the output in place of grids.

A patch that is neither rotated nor scaled nor deformed is cut out. For the others the places are computed row by row,
so no grid is held in memory, and labels are voted for instead of interpolated one by one.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

from nnunet_kits.augmentation import sampling_kernels as kernels
from nnunet_kits.augmentation.drawn import Drawn
from nnunet_kits.augmentation.filters import smooth
from nnunet_kits.augmentation.placement import PLACED, Placed

PART = 2**16
"""Voxels whose places are computed at a time, in memory that is used again."""

PADDINGS = ("zeros", "constant")
"""Border modes that we know; the others read beyond the border."""

TIES = {"nearest": kernels.NEAREST, "lowest": kernels.LOWEST, "highest": kernels.HIGHEST}


class FusedSpatial(Drawn):
    """nnU-Net's ``SpatialTransform`` in one pass.

    Args:
        stock: nnU-Net's transform, whose parameters and draws are used.
    """

    def __init__(self, stock: SpatialTransform) -> None:
        super().__init__(stock)
        self._point = copy.copy(stock)  # draws the same numbers, but builds a grid of one voxel
        self._point.patch_size = (1,) * len(stock.patch_size)
        self._point._grid_cache = {}

    @staticmethod
    def knows(stock: SpatialTransform) -> bool:
        """Whether all the transform's parameters are among those we know."""
        return (
            len(stock.patch_size) in (2, 3)
            and stock.mode_image == "bilinear"
            and stock.mode_seg in ("bilinear", "nearest")
            and stock.padding_mode_image in PADDINGS
            and stock.border_mode_seg in PADDINGS
            and not stock.align_corners
            and stock.seg_tiebreak in TIES
        )

    @property
    def padding_image(self) -> float:
        """What lies outside an image."""
        return float(self.stock.padding_value_image) if self.stock.padding_mode_image == "constant" else 0.0

    @property
    def padding_label(self) -> int:
        """What lies outside a segmentation."""
        return int(self.stock.padding_value_seg) if self.stock.border_mode_seg == "constant" else 0

    @property
    def draws_from_the_shape(self) -> bool:
        """Whether a shape is all it needs to draw: a function that draws may look at the image."""
        names = ("rotation", "scaling", "elastic_deform_scale", "elastic_deform_magnitude")
        return not any(callable(getattr(self.stock, name)) for name in names)

    def draw(self, image: torch.Tensor) -> dict[str, Any]:
        """Parameters as nnU-Net's transform draws them for this image, (channels, [z,] y, x); see :class:`Placed`.

        Only its shape matters if it :attr:`draws_from_the_shape`.
        """
        numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
        drawn = self._point.get_parameters(image=image)
        if drawn["elastic_offsets"] is None:
            return {**drawn, "grid": None, "places": None}
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        drawn = self.stock.get_parameters(image=image)
        return {**drawn, "grid": None, "places": _places(drawn["grid"], image.shape[1:])}

    def source_box(self, drawn: dict[str, Any], shape: Sequence[int]) -> tuple[list[int], list[int]]:
        """The part of the whole that a patch is made of; outside the whole is padding.

        Args:
            drawn: from :meth:`draw`.
            shape: of the whole.

        Returns:
            Lower and upper bounds, within the whole.
        """
        size = self.stock.patch_size
        if drawn["places"] is not None:
            low, high = drawn["places"].flatten(1).aminmax(dim=1)
            bounds = [(math.floor(a) - 1, math.floor(b) + 3) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        elif drawn["affine"] is not None:
            reach = np.abs(drawn["affine"]) @ ((np.asarray(size) - 1) / 2)
            middles = [c - 0.5 for c in drawn["center_location_in_pixels"]]
            bounds = [(math.floor(m - r) - 1, math.floor(m + r) + 3) for m, r in zip(middles, reach, strict=True)]
        else:
            firsts = [math.floor(c) - s // 2 for c, s in zip(drawn["center_location_in_pixels"], size, strict=True)]
            bounds = [(first, first + s) for first, s in zip(firsts, size, strict=True)]
        lower = [min(max(a, 0), edge - 1) for (a, _), edge in zip(bounds, shape, strict=True)]
        upper = [max(min(b, edge), a + 1) for (_, b), a, edge in zip(bounds, lower, shape, strict=True)]
        return lower, upper

    def __call__(self, **data_dict: Any) -> dict[str, Any]:
        """Transform image and segmentation, as nnU-Net's transform would."""
        placed = data_dict.pop(PLACED, None)
        image: Any = data_dict.get("image")
        labels = data_dict.get("segmentation")
        if placed is None:
            if not self._can(data_dict):
                return self.stock(**data_dict)  # type: ignore[no-any-return]
            placed = Placed(self.draw(image), tuple(image.shape[1:]), (0,) * (image.ndim - 1))
        if placed.drawn["affine"] is None and placed.drawn["places"] is None:
            data_dict["image"] = self._cut(image, placed, self.padding_image)
            if labels is not None:
                data_dict["segmentation"] = self._cut(labels, placed, self.padding_label)
            return data_dict
        data_dict["image"], sampled = self._sample(image, labels, placed)
        if labels is not None:
            data_dict["segmentation"] = sampled.to(labels.dtype)
        return data_dict

    def _can(self, data_dict: dict[str, Any]) -> bool:
        """Whether image and segmentation are all there is, and of kinds that the loops take."""
        image, labels = data_dict.get("image"), data_dict.get("segmentation")
        if image is None or any(data_dict.get(key) is not None for key in ("regression_target", "keypoints", "bbox")):
            return False
        return image.dtype == torch.float32 and (labels is None or labels.dtype in (torch.int8, torch.int16))

    def _cut(self, array: torch.Tensor, placed: Placed, padding: float) -> torch.Tensor:
        """The patch of an array that was neither rotated nor scaled nor deformed."""
        centers, size = placed.drawn["center_location_in_pixels"], self.stock.patch_size
        lower = [math.floor(c) - s // 2 - o for c, s, o in zip(centers, size, placed.offset, strict=True)]
        bounds = list(zip(lower, size, array.shape[1:], strict=True))
        inside = [slice(min(max(a, 0), edge), min(max(a + s, 0), edge)) for a, s, edge in bounds]
        part = array[(slice(None), *inside)]
        if tuple(part.shape[1:]) == tuple(size):
            return part
        out = torch.full((len(array), *size), padding, dtype=array.dtype)
        target = [slice(i.start - a, i.stop - a) for i, a in zip(inside, lower, strict=True)]
        out[(slice(None), *target)] = part
        return out

    def _sample(
        self, image: torch.Tensor, labels: torch.Tensor | None, placed: Placed
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The patch read at the drawn places: image, and labels as int16."""
        shape, dim = [int(edge) for edge in self.stock.patch_size], image.ndim - 1
        source = tuple(image.shape[1:])
        voxels = math.prod(source)
        if labels is None:
            labels = torch.empty((0, *source), dtype=torch.int16)
        out_image = torch.empty((len(image), *shape), dtype=torch.float32)
        out_labels = torch.empty((len(labels), *shape), dtype=torch.int16)
        rows = math.prod(shape[:-1])
        given = (
            image.contiguous().reshape(len(image), voxels).numpy(),
            labels.to(torch.int16).contiguous().reshape(len(labels), voxels).numpy(),
            *_as_volume(source),
        )
        results = (
            (np.float32(self.padding_image), np.int16(self.padding_label)),
            self.stock.mode_seg != "nearest",
            TIES[self.stock.seg_tiebreak],
            out_image.reshape(len(image), rows, shape[-1]).numpy(),
            out_labels.reshape(len(labels), rows, shape[-1]).numpy(),
        )
        if placed.drawn["places"] is None:
            start, steps = np.zeros(3), np.zeros((3, 3))
            affine, whole = placed.drawn["affine"], np.asarray(placed.shape)
            middle = np.asarray(placed.drawn["center_location_in_pixels"]) - whole / 2
            steps[-dim:, -dim:] = affine
            start[-dim:] = middle - affine @ ((np.asarray(shape) - 1) / 2)
            edges = (1,) * (3 - dim) + tuple(placed.shape)
            offset = (0,) * (3 - dim) + tuple(placed.offset)
            kernels.sample_affine(*given, edges, offset, start, steps, shape[-2], *results)
        else:
            places = torch.zeros((3, *shape))
            torch.sub(placed.drawn["places"], _column(placed.offset), out=places[-dim:])
            kernels.sample_places(*given, places.reshape(3, rows, shape[-1]).numpy(), *results)
        return out_image, out_labels


class FusedSet(FusedSpatial):
    """:class:`~nnunet_kits.augmentation.set_spatial.SetSpatial` in one pass."""

    def draw(self, image: torch.Tensor) -> dict[str, Any]:
        """As the set draws; see :class:`Placed`."""
        drawn = self.stock.draw(image, smooth)
        if drawn["elastic_offsets"] is None:
            return {**drawn, "places": None}
        return {**drawn, "elastic_offsets": None, "places": _displaced(drawn)}


def _as_volume(source: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Size and strides of a volume, or of a plane as the kernels take it."""
    if len(source) == 2:
        return (2, *source), (0, source[1])
    return tuple(source), (source[1] * source[2], source[2])


def _column(values: Sequence[float]) -> torch.Tensor:
    """A number an axis, to be added to places."""
    return torch.tensor(values, dtype=torch.float32).view(-1, *[1] * len(values))


def _displaced(drawn: dict[str, Any]) -> torch.Tensor:
    """Voxel coordinates (axes, *patch) of voxels that are displaced, then turned and scaled; uses up displacements."""
    places = drawn["elastic_offsets"]
    for axis, displacements in enumerate(places):
        edge = displacements.shape[axis]
        ramp = torch.arange(edge, dtype=torch.float32) - (edge - 1) / 2
        displacements += ramp.view(-1, *[1] * (displacements.ndim - 1 - axis))
    if drawn["affine"] is not None:
        affine = torch.from_numpy(drawn["affine"]).float()
        for part in places.flatten(1).split(PART, dim=1):
            part.copy_(affine @ part)
    return places.add_(_column(drawn["center_location_in_pixels"]) - 0.5)


def _places(grid: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Voxel coordinates (axes, *patch) of torch's grid from -1 to 1 (*patch, axes in reverse), as torch reads it."""
    sizes = torch.tensor([float(edge) for edge in shape])
    return (((grid.flip(-1) + 1) * sizes - 1) / 2).movedim(-1, 0).contiguous()
