"""Resampling by operators gives what nnU-Net's own functions give, for any shape, order and thick axis."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis, resample_data_or_seg
from scipy import ndimage
from skimage.transform import resize

from nnunet_kits.errors import ResamplingError
from nnunet_kits.geometry import crop, whole_box
from nnunet_kits.resampling import volumes
from nnunet_kits.resampling.boxes import box_resampling
from nnunet_kits.resampling.labels import label_resampling, resample_labels
from nnunet_kits.resampling.operators import axis_operator
from nnunet_kits.resampling.scheme import Scheme, scheme_of, separate_axis
from nnunet_kits.resampling.volumes import resample_volume

sizes = st.integers(1, 20)
shapes = st.tuples(sizes, sizes, sizes)
seeds = st.integers(0, 2**32 - 1)
axes = st.sampled_from([None, 0, 1, 2])
EXAMPLES = settings(max_examples=60, deadline=None)


@st.composite
def resized(draw):
    """A shape and a new one; often one that puts new voxels half way between old ones, or leaves an axis as it is."""
    old = draw(shapes)
    kind = draw(st.sampled_from(["any", "multiple", "half", "mixed"]))
    if kind == "multiple":
        return old, tuple(n * draw(st.integers(1, 3)) for n in old)
    if kind == "half":
        return old, tuple(max(1, n // 2) for n in old)
    new = draw(shapes)
    return old, tuple(n if kind == "mixed" and draw(st.booleans()) else m for n, m in zip(old, new, strict=True))


def reference(array, new_shape, scheme, is_labels):
    """nnU-Net's result for (c, z, y, x)."""
    apart = scheme.separate_axis
    return resample_data_or_seg(
        array, new_shape, is_labels, apart, scheme.order, apart is not None, order_z=scheme.separate_order
    )


@given(sizes, sizes, st.integers(0, 5), seeds)
@EXAMPLES
def test_an_operator_does_to_a_line_what_skimage_does(old, new, order, seed):
    line = np.random.default_rng(seed).standard_normal(old)
    expected = resize(line, (new,), order, mode="edge", anti_aliasing=False, clip=False)
    operator = axis_operator(old, new, order)
    assert np.allclose(operator.dense(0, new) @ line[slice(*operator.inputs(0, new))], expected, atol=3e-6)


@pytest.mark.parametrize(("old", "new"), [(300, 411), (411, 300), (200, 31), (31, 200)])
@pytest.mark.parametrize("order", [1, 3, 5])
def test_the_operator_of_a_long_line_is_a_narrow_band(old, new, order):
    line = np.random.default_rng(0).standard_normal(old)
    operator = axis_operator(old, new, order, "map_coordinates")
    places = old / new * (np.arange(new) + 0.5) - 0.5
    expected = ndimage.map_coordinates(line, places[None], order=order, mode="nearest")
    pieces = [matrix @ line[slice(*needed)] for _, needed, matrix in operator.tiles(0, new)]
    assert np.allclose(np.concatenate(pieces), expected, atol=3e-6)
    assert operator.weights.shape[1] <= {1: 2, 3: 24, 5: 42}[order]


def interpolated(array, new_shape, scheme):
    """What nnU-Net's result is before it is cut to a range."""
    spline = {"order": scheme.order, "mode": "edge", "anti_aliasing": False, "clip": False}
    apart = scheme.separate_axis
    if apart is None:
        return resize(array, new_shape, **spline)
    across = [size for axis, size in enumerate(new_shape) if axis != apart]
    planes = np.stack([resize(plane, across, **spline) for plane in np.moveaxis(array, apart, 0)], apart)
    places = np.indices(new_shape, float)
    places[apart] = (places[apart] + 0.5) * array.shape[apart] / new_shape[apart] - 0.5
    return ndimage.map_coordinates(planes, places, order=scheme.separate_order, mode="nearest")


@given(resized(), st.sampled_from([0, 1, 3]), axes, st.sampled_from([0, 1, 3]), seeds)
@EXAMPLES
def test_a_volume_and_any_box_of_it_equal_nnunets(pair, order, axis, separate_order, seed):
    old, new = pair
    random = np.random.default_rng(seed)
    array = random.standard_normal(old).astype(np.float32)
    scheme = Scheme(order, axis, separate_order if axis is not None else 0)
    expected = reference(array[None], new, scheme, False)[0]
    found = resample_volume(array, new, scheme)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-5)
    z, y, x = (tuple(sorted(random.choice(size + 1, 2, replace=False).tolist())) for size in new)
    wanted = box_resampling(old, new, scheme, (z, y, x))
    part = torch.from_numpy(np.ascontiguousarray(crop(array, wanted.needed)))
    channels = wanted(torch.stack([part, 2 * part])).numpy()
    uncut = crop(interpolated(array, new, scheme), (z, y, x))
    assert np.allclose(channels, [uncut, 2 * uncut], atol=2e-5)


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@pytest.mark.parametrize("new", [(70, 19, 21), (20, 30, 40)])
def test_a_volume_made_in_many_slabs_from_strided_integers_equals_nnunets(axis, new, monkeypatch):
    monkeypatch.setattr(volumes, "SLAB_BYTES", 1)
    array = np.random.default_rng(0).integers(-1000, 1000, (24, 23, 50), dtype=np.int16).transpose(2, 1, 0)[::-1]
    out = np.full((*new, 2), -1, np.float32)[..., 0]
    assert resample_volume(array, new, Scheme(3, axis, 0), out=out) is out
    assert np.allclose(out, reference(array.astype(np.float32)[None], new, Scheme(3, axis, 0), False)[0], atol=2e-3)


def test_a_spline_that_overshoots_is_cut_to_the_range_of_the_volume_but_in_a_box_of_it_left_to_the_caller():
    array = np.zeros((8, 8, 8), np.float32)
    array[4:] = 1
    assert resample_volume(array, (20, 20, 20), Scheme(3)).max() == 1
    assert (
        box_resampling(array.shape, (20, 8, 8), Scheme(3), whole_box((20, 8, 8)))(torch.from_numpy(array)).max() > 1.01
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_volume_with_values_that_are_not_finite_is_refused(bad):
    array = np.full((3, 3, 3), bad, np.float32)
    with pytest.raises(ResamplingError, match=r"\(3, 3, 3\) voxels: its range is .* only finite values"):
        resample_volume(array, (4, 4, 4), Scheme(3))


@pytest.mark.parametrize(("old", "new"), [((3, 3), (3, 3)), ((3, 3, 3), (3, 0, 3)), ((0, 3, 3), (1, 1, 1))])
def test_a_shape_without_voxels_or_of_other_dimensions_is_refused(old, new):
    with pytest.raises(ResamplingError, match="both need three axes of at least 1"):
        resample_volume(np.zeros(old, np.float32), new, Scheme(1))


@pytest.mark.parametrize("arguments", [(0, 3, 1), (3, 0, 1), (3, 3, 6)])
def test_an_operator_of_no_samples_or_unknown_order_is_refused(arguments):
    with pytest.raises(ResamplingError, match="sizes must be at least 1 and the order 0 to 5"):
        axis_operator(*arguments)


@given(resized(), st.sampled_from([0, 1, 1, 1]), axes, seeds, st.sampled_from(["int8", "uint8", "int16", "float32"]))
@settings(max_examples=150, deadline=None)
def test_label_maps_and_any_box_of_them_equal_nnunets_to_the_last_tie(pair, order, axis, seed, dtype):
    old, new = pair
    random = np.random.default_rng(seed)
    labels = random.integers(0 if dtype == "uint8" else -1, 4, old)
    labels = np.where(random.random(old) < random.random(), 0, labels).astype(dtype)
    found = resample_labels(labels, new, Scheme(order, axis))
    assert found.dtype == labels.dtype
    expected = reference(labels[None].astype(np.float32), new, Scheme(order, axis), True)[0]
    assert np.array_equal(found, expected)
    z, y, x = (tuple(sorted(random.choice(size + 1, 2, replace=False).tolist())) for size in new)
    wanted = label_resampling(old, new, Scheme(order, axis), (z, y, x))
    assert np.array_equal(wanted(crop(labels, wanted.needed)), crop(expected, (z, y, x)))


@pytest.mark.parametrize("values", [[0, 200, 70000], [0.0, 1.5, -2.25], [-300, 0, 300]])
def test_labels_of_any_value_are_kept(values):
    labels = np.random.default_rng(0).choice(values, (9, 8, 7))
    expected = reference(labels[None].astype(np.float32), (13, 16, 5), Scheme(1), True)[0]
    assert np.array_equal(resample_labels(labels, (13, 16, 5), Scheme(1)), expected)


def test_half_way_between_two_labels_the_nearest_voxels_label_wins():
    labels = np.array([0, 2, 2, 1], np.int8).reshape(4, 1, 1)
    assert resample_labels(labels, (2, 1, 1), Scheme(1)).ravel().tolist() == [2, 1]
    assert resample_labels(labels[::-1], (2, 1, 1), Scheme(1)).ravel().tolist() == [2, 0]


def test_a_label_map_of_the_same_shape_is_copied():
    labels = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    found = resample_labels(labels, (2, 2, 2), Scheme(1))
    assert np.array_equal(found, labels)
    assert not np.shares_memory(found, labels)


@pytest.mark.parametrize("scheme", [Scheme(3), Scheme(1, 0, 1)])
def test_label_maps_have_no_equal_for_higher_orders(scheme):
    with pytest.raises(ResamplingError, match="only order 0 or 1, and 0 along a separate axis, have an exact"):
        resample_labels(np.zeros((3, 3, 3)), (5, 5, 5), scheme)


edges = st.sampled_from([0.5, 0.7, 1.0, 1.0, 3.0, 3.1, 5.0])
spacings = st.tuples(edges, edges, edges)


@given(spacings, spacings, st.sampled_from([None, True, False]), st.sampled_from([2.0, 3.0]))
@settings(max_examples=300, deadline=None)
def test_the_separate_axis_is_the_one_that_nnunet_chooses(old, new, force, threshold):
    apart, axis = determine_do_sep_z_and_axis(force, old, new, threshold)
    assert separate_axis(old, new, force, threshold) == (axis if apart else None)


def test_a_scheme_follows_the_plans_arguments():
    options = {"is_seg": False, "order": 3, "order_z": 1, "force_separate_z": None}
    name = "resample_data_or_seg_to_shape"
    assert scheme_of(name, options, (5.0, 1.0, 1.0), (1.0, 1.0, 1.0)) == Scheme(3, 0, 1)
    assert scheme_of(name, options, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)) == Scheme(3)
    assert scheme_of(name, {}, (5.0, 1.0, 1.0), (1.0, 1.0, 1.0)) == Scheme(3)
    assert Scheme(3, 1, 0).order_along(1) == 0


@pytest.mark.parametrize(
    ("function", "options"),
    [
        ("resample_torch_fornnunet", {"is_seg": False}),
        ("resample_data_or_seg_to_shape", {"order": 9}),
        ("resample_data_or_seg_to_shape", {"order_z": -1}),
        ("resample_data_or_seg_to_shape", {"is_seg": True, "order": 3}),
        ("resample_data_or_seg_to_shape", {"is_seg": True, "order": 1, "order_z": 1}),
        ("resample_data_or_seg_to_shape", {"order": 3, "dtype_out": "float16"}),
    ],
)
def test_what_has_no_exact_equal_has_no_scheme(function, options):
    assert scheme_of(function, options, (1.0, 1.0, 1.0), (2.0, 2.0, 2.0)) is None
