"""What nnU-Net derives from a case besides resampling: what lies outside, where labels are."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED, LEAST_SAMPLES, LEAST_SHARE = 1234, 10000, 0.01
"""DefaultPreprocessor._sample_foreground_locations draws so many voxels of each class, with this seed."""

Locations = dict[int | tuple[int, ...], NDArray[np.int64] | list[Any]]


def outside(image: NDArray[Any]) -> Iterator[tuple[NDArray[np.intp], ...]]:
    """Voxels that are 0 in every channel and joined to the border by such voxels, face to face.

    That is what scipy.ndimage.binary_fill_holes leaves empty of the mask of voxels that are not 0.

    Args:
        image: (c, z, y, x).

    Yields:
        Indices along z, y, x of these voxels, layer after layer from the border inwards.
    """
    if all(_faces_nonzero(np.moveaxis(image, axis, 1)) for axis in (1, 2, 3)):
        return
    order = np.argsort(-np.abs(image.strides[1:]))  # as the voxels lie in memory
    waiting = np.zeros([image.shape[1 + axis] + 2 for axis in order], bool)  # with a border that is never entered
    inner = waiting[1:-1, 1:-1, 1:-1]
    inner[...] = True
    for channel in image:
        inner &= channel.transpose(order) == 0
    steps = [sign * stride for stride in waiting.strides for sign in (1, -1)]
    flat, front = waiting.reshape(-1), _on_faces(waiting)
    while len(front):
        flat[front] = False
        places = np.unravel_index(front, waiting.shape)
        yield tuple(places[axis] - 1 for axis in np.argsort(order))
        near = np.concatenate([front + step for step in steps])
        front = np.unique(near[flat[near]])


def _faces_nonzero(image: NDArray[Any]) -> bool:
    """Whether no voxel of the first and last plane is 0 in every channel."""
    return bool((image[:, [0, -1]] != 0).any(axis=0).all())


def _on_faces(padded: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Flat indices of the true voxels just inside the padding."""
    faces = np.zeros_like(padded)
    for axis in range(3):
        there, here = np.moveaxis(padded, axis, 0), np.moveaxis(faces, axis, 0)
        here[[1, -2]] = there[[1, -2]]
    return np.flatnonzero(faces)


def sample_locations(labels: NDArray[np.integer[Any]], classes: Sequence[int | Sequence[int]]) -> Locations:
    """Voxels of each class or region from which training draws its foreground patches.

    Equal to DefaultPreprocessor._sample_foreground_locations, draw for draw, without sorting the volume.

    Args:
        labels: (1, z, y, x).
        classes: a label, or the labels of a region, each.

    Returns:
        Class -> (n, 4) indices ``(0, z, y, x)``; an empty list for a class without a voxel.

    Source: nnunetv2.preprocessing.preprocessors.default_preprocessor, version 2.8.1.
    """
    random = np.random.RandomState(SEED)
    filled = np.flatnonzero(labels)
    values = labels.reshape(-1)[filled]
    places: dict[int, NDArray[np.intp]] = {}
    found: Locations = {}
    for given in classes:
        members = tuple(int(label) for label in given) if isinstance(given, Sequence) else (int(given),)
        key = members if isinstance(given, Sequence) else members[0]
        for label in set(members) - set(places):
            places[label] = filled[values == label] if label else np.flatnonzero(labels == 0)
        count = sum(len(places[label]) for label in members)
        if count == 0:
            found[key] = []
            continue
        wanted = max(min(LEAST_SAMPLES, count), int(np.ceil(count * LEAST_SHARE)))
        drawn = random.choice(count, wanted, replace=False)
        flat = np.concatenate([places[label] for label in members])[drawn]
        found[key] = np.stack(np.unravel_index(flat, labels.shape), axis=1).astype(np.int64, copy=False)
    return found
