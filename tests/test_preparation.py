"""A scan cropped, masked and resized, and what a network says about it put back on the scan's grid."""

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnunet_kits.errors import EmptyMaskError, PreparationError
from nnunet_kits.geometry import crop
from nnunet_kits.preparation import Placement, Preparation, as_hu, prepare, restore

SPACING = (3.0, 0.8, 0.8)
EXAMPLES = settings(max_examples=50, deadline=None)
sizes = st.tuples(*[st.integers(1, 14)] * 3)
seeds = st.integers(0, 2**32 - 1)


def blobs(rng, shape, labels=3):
    """A label map of a few boxes in random places."""
    array = np.zeros(shape, np.uint8)
    for label in range(1, labels + 1):
        starts = [int(rng.integers(0, n)) for n in shape]
        array[tuple(slice(a, a + int(rng.integers(1, n + 1))) for a, n in zip(starts, shape, strict=True))] = label
    return array


@st.composite
def cases(draw):
    """A CT of integer HU, a label map of it, and a preparation; the size of some axes is given, of some not."""
    shape, rng = draw(sizes), np.random.default_rng(draw(seeds))
    margin = draw(st.none() | st.tuples(*[st.integers(0, 4)] * 3))
    size = draw(st.none() | st.tuples(*[st.none() | st.integers(1, 20)] * 3))
    image = rng.integers(-1000, 2000, shape).astype(np.int16)
    return image, blobs(rng, shape), Preparation(margin, draw(st.booleans()), size)


def interpolated(array, size):
    """torch's trilinear resizing without aligned corners, in double precision."""
    given = torch.from_numpy(array.astype(np.float64))[None, None]
    return torch.nn.functional.interpolate(given, size=size, mode="trilinear", align_corners=False)[0, 0].numpy()


@given(cases())
@EXAMPLES
def test_a_prepared_scan_is_the_masks_box_with_its_margin_times_the_mask_resized_by_torch(case):
    image, labels, preparation = case
    prepared = prepare(image, SPACING, preparation, labels)
    if preparation.margin_voxels is None:
        box = tuple(slice(0, n) for n in image.shape)
    else:
        places = np.argwhere(labels)
        low, high = places.min(axis=0) - preparation.margin_voxels, places.max(axis=0) + preparation.margin_voxels
        box = tuple(slice(max(0, a), b + 1) for a, b in zip(low, high, strict=True))
    expected = np.where(labels > 0, image, 0)[box] if preparation.mask else image[box]
    assert np.array_equal(crop(image, prepared.placement.box), image[box])
    size = [n if m is None else m for n, m in zip(expected.shape, preparation.size or [None] * 3, strict=True)]
    assert prepared.array.shape == tuple(size)
    assert prepared.array.dtype == np.int16  # which the scans are
    assert np.abs(prepared.array - interpolated(expected, size)).max() <= 0.5 + 1e-2
    edges = np.array(SPACING) * expected.shape / size
    assert np.allclose(prepared.spacing_zyx_mm, edges)


@given(cases())
@EXAMPLES
def test_a_label_map_that_was_only_cropped_is_put_back_exactly(case):
    image, labels, preparation = case
    placement = prepare(image, SPACING, Preparation(preparation.margin_voxels, preparation.mask), labels).placement
    assert np.array_equal(restore(placement.labels(labels), placement), labels)


def reach(before, after):
    """How far away the voxel may lie whose label a voxel gets: 0 for an axis that is enlarged or kept."""
    return 0 if after >= before else int((before / after + 1) / 2)


@given(cases())
@example((np.zeros((1, 4, 9), np.int16), blobs(np.random.default_rng(0), (1, 4, 9)), Preparation(size=(None, 2, 3))))
@EXAMPLES
def test_a_resized_label_map_differs_only_within_the_stated_reach_of_a_labels_border(case):
    image, labels, preparation = case
    placement = prepare(image, SPACING, preparation, labels).placement
    back = restore(placement.labels(labels), placement)
    window = [2 * reach(n, m) + 1 for n, m in zip(placement.extent, placement.shape, strict=True)]
    inside = crop(labels, placement.box)
    bordering = ndimage.maximum_filter(inside, window, mode="nearest") != ndimage.minimum_filter(
        inside, window, mode="nearest"
    )
    assert not np.any((crop(back, placement.box) != inside) & ~bordering)
    outside = np.ones(labels.shape, bool)
    crop(outside, placement.box)[...] = False
    assert not back[outside].any()


@given(sizes, sizes, seeds)
@EXAMPLES
def test_labels_are_taken_from_the_nearest_voxel_by_scipys_reckoning(old, new, seed):
    labels = np.random.default_rng(seed).integers(0, 4, old).astype(np.uint8)
    placement = Placement(old, tuple((0, n) for n in old), new)
    zoom = [m / n for n, m in zip(old, new, strict=True)]
    expected = ndimage.zoom(labels, zoom, order=0, mode="nearest", grid_mode=True)
    assume(expected.shape == new)
    assert np.array_equal(placement.labels(labels), expected)


@given(sizes, sizes)
@EXAMPLES
def test_a_prepared_voxel_lies_where_its_middle_is_in_the_source(extent, shape):
    box = ((2, 2 + extent[0]), (0, extent[1]), (1, 1 + extent[2]))
    matrix = Placement(tuple(n + 3 for n in extent), box, shape).to_source()
    first = [start - 0.5 for start, _ in box]  # the outer corner of the first voxel, and that of the last
    last = [stop - 0.5 for _, stop in box]
    assert np.allclose(matrix @ [-0.5, -0.5, -0.5, 1], [*first, 1])
    assert np.allclose(matrix @ [*(n - 0.5 for n in shape), 1], [*last, 1])


def test_a_scan_that_needs_nothing_is_the_scan_itself():
    image = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    for scan in (image, image + np.float32(0.25)):
        prepared = prepare(scan, SPACING, Preparation())
        assert np.shares_memory(prepared.array, scan)
        assert prepared.spacing_zyx_mm == SPACING


@given(st.floats(0.1, 10), st.integers(1, 700))
@EXAMPLES
def test_the_spacing_of_an_axis_that_stays_as_it_is_does_not_change_in_the_last_bit(edge, size):
    box = ((3, 3 + size), (0, size), (0, 2))
    placement = Placement((size + 3, size, 2), box, (size, size, 3))
    assert placement.spacing_mm((edge, edge, 3.0)) == (edge, edge, 2.0)


def test_hu_are_rounded_to_the_nearest_whole_number_and_cut_to_int16():
    values = np.array([-1000.4, -0.5, 0.5, 1.5, 2.6, 1e6, -1e6], np.float32)
    assert as_hu(values).tolist() == [-1000, 0, 0, 2, 3, 32767, -32768]


def test_the_scan_is_not_changed_by_a_mask():
    image, mask = np.full((2, 2, 2), 7, np.int16), np.eye(2, dtype=np.uint8)[None].repeat(2, axis=0)
    prepared = prepare(image, SPACING, Preparation(mask=True), mask)
    assert prepared.array[0].tolist() == [[7, 0], [0, 7]]
    assert (image == 7).all()


@pytest.mark.parametrize(
    "preparation",
    [Preparation(), Preparation((4, 20, 20), True, (None, 224, 384)), Preparation(None, False, (1, 2, 3))],
)
def test_a_preparation_and_a_placement_survive_json(preparation):
    assert Preparation.from_json(preparation.as_json(), "x") == preparation
    placement = Placement((9, 8, 7), ((0, 9), (2, 3), (1, 7)), (9, 224, 384))
    assert Placement.from_json(placement.as_json(), "x") == placement


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"sise": [1, 1, 1]}, "its keys are region, mask, size|Its keys are region, mask, size"),
        ([], "is no preparation"),
        ({"region": [4, 20, 20]}, r'region is \[4, 20, 20\], not \{"margin_voxels": \[z, y, x\]\} or null'),
        (
            {"region": {"margin_voxels": [4, 20, -1]}},
            r"margin_voxels is \[4, 20, -1\], not three integers of at least 0",
        ),
        ({"region": {"margin_voxels": [4, 20, True]}}, "not three integers"),
        ({"region": {"margin_voxels": [4, 20, None]}}, "not three integers"),
        ({"mask": 1}, "mask is 1, not true or false"),
        ({"size": [128, 128]}, r"size is \[128, 128\], not three integers of at least 1 \(z, y, x\), or null"),
        ({"size": [0, 128, 128]}, "not three integers of at least 1"),
    ],
)
def test_a_bad_preparation_is_refused_with_its_value(content, message):
    with pytest.raises(PreparationError, match=rf"^rule\.json: .*({message})"):
        Preparation.from_json(content, "rule.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "does not say where"),
        ({"source_shape": [4, 4, 4], "box": [[0, 4], [0, 4], [3, 5]], "shape": [4, 4, 2]}, "does not lie in"),
        ({"source_shape": [4, 4, 4], "box": [[0, 4], [0, 4], [3, 4]], "shape": [4, 4, 0]}, "does not lie in"),
        ({"source_shape": [4, 4], "box": [], "shape": [4, 4, 2]}, "does not say where"),
    ],
)
def test_a_placement_that_is_none_is_refused(content, message):
    with pytest.raises(PreparationError, match=message):
        Placement.from_json(content, "derivation.json, case_00000")


def test_a_mask_that_is_empty_missing_or_of_another_shape_is_refused():
    image = np.zeros((2, 3, 4), np.int16)
    with pytest.raises(EmptyMaskError, match="the mask is empty: nothing was found"):
        prepare(image, SPACING, Preparation(mask=True), np.zeros(image.shape, bool))
    with pytest.raises(PreparationError, match="no mask is given"):
        prepare(image, SPACING, Preparation((0, 0, 0)))
    with pytest.raises(
        PreparationError, match=r"the mask has \(2, 3, 5\) voxels \(z, y, x\), but the scan \(2, 3, 4\)"
    ):
        prepare(image, SPACING, Preparation(mask=True), np.ones((2, 3, 5), bool))


def test_a_result_of_another_shape_is_refused():
    placement = Placement((4, 4, 4), ((0, 4), (0, 4), (0, 4)), (4, 8, 8))
    with pytest.raises(PreparationError, match=r"the label map has \(4, 4, 4\) voxels .* but \(4, 8, 8\) are expected"):
        restore(np.zeros((4, 4, 4), np.uint8), placement)
    with pytest.raises(PreparationError, match=r"but \(4, 4, 4\) are expected"):
        placement.labels(np.zeros((4, 8, 8), np.uint8))
