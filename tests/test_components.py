"""Components against scipy's."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from small_kidneys import ragged

from nnunet_kits.components import component_boxes, find_components, label_components, mask_of, touched_labels
from nnunet_kits.geometry import crop

FULL = np.ones((3, 3, 3), bool)


def views(labels):
    """The same map in other memory layouts."""
    return [labels, np.asfortranarray(labels), labels[::-1, :, ::-1][::-1, :, ::-1], labels.transpose(2, 0, 1).copy()]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    share=st.sampled_from([0.0, 0.02, 0.15, 0.6]),
    members=st.sampled_from([(1,), (2,), (2, 3), (1, 2, 3), (1, 3)]),
    layout=st.integers(0, 2),
)
def test_components_are_those_of_scipy_in_any_memory_layout(seed, shape, share, members, layout):
    labels = views(ragged(seed, shape, share))[layout]
    expected, count = ndimage.label(np.isin(labels, members), structure=FULL)
    found = find_components(labels, members)
    if found is None:
        assert count == 0
        assert not labels.any()
        return
    assert found.count == count
    whole = np.zeros(shape, int)
    crop(whole, found.inside)[...] = found.ids
    assert len(np.unique(np.stack([whole.ravel(), expected.ravel()]), axis=1).T) == count + (0 in whole)
    assert sorted(found.voxels[1:]) == sorted(np.bincount(expected.ravel())[1:])
    assert np.array_equal(found.labels, crop(labels, found.inside))
    assert np.array_equal(found.ids.ravel()[found.places], found.ids_at_places)


def test_each_component_has_the_smallest_box_that_holds_it():
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[1:3, 2, 3] = labels[4, 3:6, 5:8] = 1
    assert component_boxes(label_components(labels > 0)) == [((1, 3), (2, 3), (3, 4)), ((4, 5), (3, 6), (5, 8))]


def test_nothing_heavy_is_imported_with_the_module():
    code = "import sys, nnunet_kits.components; assert not {'cc3d', 'scipy.ndimage'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_mask_of_some_labels_is_that_of_numpy():
    labels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    for members in [(), (1,), (0,), (2, 3), (1, 2, 3), (1, 3), (255,), (254, 255)]:
        assert np.array_equal(mask_of(labels, members), np.isin(labels, members))


def test_the_label_touched_most_is_found_at_faces_edges_and_corners_and_at_the_border():
    labels = np.zeros((3, 3, 9), np.uint8)
    labels[0, 0, 0] = 2  # in a corner of the map, touched by nothing
    labels[1, 1, 4] = 2
    labels[0, 0, 3] = labels[2, 2, 5] = 3  # two corners
    labels[1, 1, 5] = 1  # one face
    labels[2, 1, 8] = 2
    labels[1, 0, 7] = 1
    found = find_components(labels, (2,))
    chosen = np.array([False, *[True] * 3])
    table = touched_labels(found, chosen, (2,))
    by_place = {tuple(int(c) for c in np.argwhere(found.ids == k)[0]): int(table[k]) for k in (1, 2, 3)}
    assert by_place == {(0, 0, 0): 0, (1, 1, 4): 3, (2, 1, 8): 1}
    assert not touched_labels(found, np.zeros(4, bool), (2,)).any()


@pytest.mark.parametrize("shape", [(1, 1, 9), (1, 7, 7), (3, 3, 3), (5, 5, 5), (7, 9, 5)])
def test_isolated_voxels_as_dense_as_can_be_are_all_counted(shape):
    """cc3d alone fails on the first three."""
    labels = np.zeros(shape, np.uint8)
    labels[::2, ::2, ::2] = 1
    assert find_components(labels, (1,)).count == np.count_nonzero(labels)
    assert label_components(labels > 0, connectivity=6).max() == np.count_nonzero(labels)


def test_where_cc3d_fails_scipy_counts(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("maximum length exception")

    labels = ragged(0, (6, 6, 6))
    expected = label_components(labels > 0)
    monkeypatch.setattr("cc3d.connected_components", fail)
    assert label_components(labels > 0).max() == expected.max()
