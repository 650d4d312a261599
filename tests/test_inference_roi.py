"""Boxes around what the coarse model found: nothing left out, never dearer than one box around all."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnunet_kits.geometry import union_box
from nnunet_kits.inference.roi import RoiSettings, boxes_beyond, find_boxes
from nnunet_kits.inference.tiling import Tiling

EDGE = 24
WINDOW = Tiling((8, 8, 8))
points = st.lists(st.tuples(*[st.integers(0, EDGE - 1)] * 3), min_size=1, max_size=8)


def windows(box):
    return len(WINDOW.starts([stop - start for start, stop in box]))


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
    assert sum(map(windows, boxes)) <= windows(union_box(*boxes))


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


VOLUME = ((0, EDGE),) * 3
MM = (1.0, 1.0, 1.0)


def inside(mask, box):
    return mask[tuple(slice(*rows) for rows in box)]


@given(st.integers(0, 99), st.tuples(*[st.integers(0, EDGE - 8)] * 3), st.integers(0, 4))
@settings(max_examples=50, deadline=None)
def test_following_a_result_from_box_to_box_reaches_all_that_hangs_together(seed, corner, margin_mm):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((EDGE,) * 3), 2)
    first = tuple((at, at + 8) for at in corner)
    mask = smooth > 0
    rules = RoiSettings(margin_mm, smallest_ml=0)
    looked_at, queue = [], [first]
    while queue:
        box = queue.pop()
        looked_at.append(box)
        beyond = boxes_beyond(inside(mask, box), box, VOLUME, MM, rules, [*looked_at, *queue])
        assert all(0 <= start < stop <= EDGE for other in beyond for start, stop in other)
        queue.extend(beyond)
    seen = np.zeros_like(mask)
    for box in looked_at:
        inside(seen, box)[...] = True
    pieces, _ = ndimage.label(mask)  # face neighbours: what a side of a box can show
    hanging = np.unique(inside(pieces, first))
    assert seen[np.isin(pieces, hanging[hanging > 0])].all()


def test_noise_at_a_side_and_the_border_of_the_scan_and_known_neighbours_need_no_box():
    mask = np.zeros((8, 8, 8), bool)
    mask[0, :4, :4] = True  # 16 voxels of 1 mm3
    box = ((4, 12), (0, 8), (0, 8))
    assert boxes_beyond(mask, box, VOLUME, MM, RoiSettings(2, smallest_ml=0.017), [box]) == []
    assert boxes_beyond(mask, box, VOLUME, MM, RoiSettings(2, smallest_ml=0.016), [box]) == [((1, 6), (0, 6), (0, 6))]
    assert boxes_beyond(mask, box, ((4, EDGE), (0, EDGE), (0, EDGE)), MM, RoiSettings(2, smallest_ml=0), [box]) == []
    known = ((0, 5), (0, 4), (0, 3))
    rest = boxes_beyond(mask, box, VOLUME, MM, RoiSettings(0, smallest_ml=0), [box, known])
    assert rest == [((2, 5), (0, 5), (2, 5))]
