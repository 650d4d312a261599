"""CT values as int16 as long as that loses nothing, then as float32, whatever pieces they come in."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import ImageError


def room(shape: tuple[int, int, int], dtype: Any, where: object) -> NDArray[Any]:
    """An array for all voxels, flat.

    Args:
        shape: of the volume.
        dtype: of a voxel.
        where: what holds them, for the message.

    Raises:
        ImageError: more than there is memory for.
    """
    count, kind = int(np.prod(shape, dtype=object)), np.dtype(dtype)
    try:
        return np.empty(count, kind)
    except (MemoryError, ValueError) as error:
        raise ImageError(
            f"{where}: {shape} voxels need {count * kind.itemsize / 1e9:.1f} GB of memory, more than there is."
        ) from error


def converted(
    pieces: Iterable[tuple[int, NDArray[Any]]],
    shape: tuple[int, int, int],
    where: object,
    dtype: Any = np.int16,
    otherwise: Any | None = np.float32,
) -> NDArray[Any] | None:
    """Join pieces to an array of one dtype where that loses nothing, else of another.

    Args:
        pieces: index of the first voxel, and values, flat.
        shape: of the volume.
        where: what holds them, for messages.
        dtype: tried first: an integer one.
        otherwise: taken where ``dtype`` would lose something; None for none.

    Returns:
        A flat array; None where it would lose something and there is no other.

    Raises:
        ImageError: NaN or infinite values, or more voxels than there is memory for.
    """
    exact, not_finite = True, 0
    with np.errstate(invalid="ignore", over="ignore"):
        voxels = room(shape, dtype, where)
        for start, values in pieces:
            inside = slice(start, start + values.size)
            if exact:
                voxels[inside] = values.astype(dtype)  # wraps where a value does not fit, and then is not equal
                if np.array_equal(voxels[inside], values):
                    continue
                exact = False
                voxels = voxels if otherwise is None else voxels.astype(otherwise)
            if otherwise is not None:
                voxels[inside] = values
            checked = values if otherwise is None else voxels[inside]
            not_finite += values.size - int(np.count_nonzero(np.isfinite(checked)))
    if not_finite:
        raise ImageError(f"{where}: {not_finite} voxels are NaN or infinite. Download or export the file again.")
    return None if not exact and otherwise is None else voxels


def joined(slices: Iterable[NDArray[Any]], shape: tuple[int, int, int], where: object) -> NDArray[Any]:
    """Stack slices (rows, columns) to a volume (columns, rows, slices), as CT values.

    Raises:
        ImageError: as :func:`converted`.
    """
    plane = shape[0] * shape[1]
    pieces = ((number * plane, values.reshape(-1)) for number, values in enumerate(slices))
    voxels = converted(pieces, shape, where)
    assert voxels is not None  # there is a second dtype
    return voxels.reshape(shape, order="F")
