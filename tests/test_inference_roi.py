"""Boxes around what the coarse model found: nothing left out, never dearer than one box around all."""

import functools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnunet_kits.inference.roi import RoiSettings, find_boxes, union
from nnunet_kits.inference.windows import Tiling, count_windows

EDGE = 24
WINDOW = Tiling((8, 8, 8))
points = st.lists(st.tuples(*[st.integers(0, EDGE - 1)] * 3), min_size=1, max_size=8)


def windows(box):
    return count_windows(WINDOW, [stop - start for start, stop in box])


@given(points, st.floats(0, 12))
@settings(max_examples=50, deadline=None)
def test_every_piece_lies_in_a_box_and_one_box_around_all_is_not_cheaper(places, margin_mm):
    mask = np.zeros((EDGE,) * 3, bool)
    mask[tuple(np.transpose(places))] = True
    boxes = find_boxes(mask, (1.0, 1.0, 1.0), RoiSettings(margin_mm, smallest_ml=0), windows)
    covered = np.zeros_like(mask)
    for box in boxes:
        covered[tuple(slice(*rows) for rows in box)] = True
    reach = ndimage.maximum_filter(mask, 2 * int(margin_mm) + 1, mode="constant")
    assert not (reach & ~covered).any()
    assert sum(map(windows, boxes)) <= windows(functools.reduce(union, boxes))


def test_many_small_pieces_become_one_box_where_pairs_would_not():
    def price(box):
        edges = [stop - start for start, stop in box]
        return {1: 10, EDGE: 50}.get(max(edges), 100) if min(edges) < EDGE else 50

    mask = np.zeros((EDGE,) * 3, bool)
    for corner in np.ndindex(2, 2, 2):
        mask[tuple((EDGE - 1) * c for c in corner)] = True
    boxes = find_boxes(mask, (1.0, 1.0, 1.0), RoiSettings(0, smallest_ml=0), price)
    assert boxes == [((0, EDGE),) * 3]


def test_nothing_found_is_no_box():
    assert find_boxes(np.zeros((4, 4, 4), bool), (1.0, 1.0, 1.0), RoiSettings(), windows) == []
