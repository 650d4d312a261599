"""Where windows lie: nnU-Net's own positions, over a whole volume and over the part that holds a box."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

from nnunet_kits.inference.windows import Tiling

SIZE = st.integers(1, 60)


@st.composite
def tiled(draw):
    """A tiling, a volume, and a box in it."""
    patch = tuple(draw(st.integers(6, 20)) for _ in range(3))
    shape = tuple(draw(SIZE) for _ in range(3))
    starts = [draw(st.integers(0, size - 1)) for size in shape]
    box = tuple((at, draw(st.integers(at + 1, size))) for at, size in zip(starts, shape, strict=True))
    return Tiling(patch, draw(st.sampled_from([0.3, 0.5, 0.75, 1.0]))), shape, box


@given(tiled())
def test_a_box_is_covered_by_windows_of_the_whole_volume(given):
    tiling, shape, box = given
    part = tiling.cover(shape, box)
    of_all = set(tiling.starts(shape))
    seen = np.zeros([max(pair) for pair in zip(shape, tiling.patch_size, strict=True)], bool)
    windows = [tuple(at + first for at, (first, _) in zip(w, part, strict=True)) for w in tiling.starts(shape, part)]
    assert len(set(windows)) == len(windows)
    assert windows == sorted(windows)
    for window in windows:
        assert window in of_all
        seen[tuple(slice(at, at + patch) for at, patch in zip(window, tiling.patch_size, strict=True))] = True
    assert seen[tuple(slice(*rows) for rows in box)].all()
    reached = np.argwhere(seen)
    for (first, stop), low, high, size in zip(part, reached.min(0), reached.max(0) + 1, shape, strict=True):
        assert (first, stop) == (low, min(size, high))


@given(tiled())
def test_no_window_of_the_part_could_be_left_out(given):
    tiling, shape, box = given
    part = tiling.cover(shape, box)
    for axis, (start, stop) in enumerate(box):
        starts = sorted({window[axis] + part[axis][0] for window in tiling.starts(shape, part)})
        if stop - start > tiling.patch_size[axis]:  # without its first or last window an end would not be seen
            assert starts[1] > start
            assert starts[-2] + tiling.patch_size[axis] < stop
        else:
            assert len(starts) <= 2 or starts[-1] <= start < stop <= starts[0] + tiling.patch_size[axis]


@given(tiled())
def test_windows_of_the_whole_volume_are_nnunets(given):
    tiling, shape, _ = given
    padded = tuple(max(pair) for pair in zip(shape, tiling.patch_size, strict=True))
    axes = compute_steps_for_sliding_window(padded, tiling.patch_size, tiling.step)
    assert tiling.starts(shape) == [(z, y, x) for z in axes[0] for y in axes[1] for x in axes[2]]
