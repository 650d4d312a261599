"""Logits to label maps against nnU-Net's resampling of every logit, boxes and turned axes included."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg
from scipy import ndimage
from small_models import ByIntensity, model, plans_with
from small_plans import CLASSES, REGIONS

from nnunet_kits.inference import export
from nnunet_kits.inference.export import labels_of, segment
from nnunet_kits.inference.stage import Answer
from nnunet_kits.resampling import cells
from nnunet_kits.resampling.grid import ModelGrid

sizes = st.integers(1, 16)
shapes = st.tuples(sizes, sizes, sizes)


def answer_of(logits, scan_shape, labels=CLASSES, order=1, apart=None, axes=(0, 1, 2), offset=(0, 0, 0)):
    """Logits on a grid as the answer to a whole scan of which ``offset`` voxels at the start of each axis are 0."""
    options = {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": None}
    ours = model(ByIntensity(), plans_with(resampling_fn_probabilities_kwargs=options), labels=labels)
    edges = tuple(5.0 if axis == apart else 1.0 for axis in range(3))
    cropped = tuple((at, at + size) for at, size in zip(offset, scan_shape, strict=True))
    whole = [0, 0, 0]
    for axis, (_, stop) in zip(axes, cropped, strict=True):
        whole[axis] = stop
    grid = ModelGrid(axes, tuple(whole), (1.0, 1.0, 1.0), cropped, tuple(logits.shape[1:]), edges)
    held = tuple((0, size) for size in logits.shape[1:])
    return Answer(ours, grid, held, torch.from_numpy(logits))


@given(
    shapes,
    shapes,
    st.sampled_from([0, 1, 1, 3]),
    st.sampled_from([None, 0, 1, 2]),
    st.booleans(),
    st.permutations([0, 1, 2]),
    st.sampled_from([0, 0.2, 1]),
    st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_logits_become_nnunets_label_map(old, new, order, apart, by_region, axes, share, seed):
    random = np.random.default_rng(seed)
    labels = REGIONS if by_region else CLASSES
    heads = 3 if by_region else 4
    logits = ndimage.gaussian_filter(random.standard_normal((heads, *old)), (0, 1, 1, 1)).astype(np.float32)
    offset = tuple(random.integers(0, 3, 3).tolist())
    answer = answer_of(logits, new, labels, order, apart, tuple(axes), offset)
    resampled = resample_data_or_seg(logits, new, False, apart, order, apart is not None, order_z=0)
    if by_region:
        lead, expected = np.abs(resampled).min(axis=0), np.zeros(new, int)
        for label, region in zip(answer.model.labels.regions_class_order, resampled, strict=True):
            expected[region > 0] = label
    else:
        lead, expected = np.diff(np.sort(resampled, axis=0)[-2:], axis=0)[0], resampled.argmax(0)
    inside = [sorted(random.choice(size + 1, 2, replace=False).tolist()) for size in new]
    part = tuple(slice(*rows) for rows in inside)
    box = answer.grid.turn_back(tuple((a + at, b + at) for (a, b), at in zip(inside, offset, strict=True)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "MIXED_SHARE", share)
        patch.setattr(export, "SLAB_VOXELS", 200)
        patch.setattr(cells, "CHUNK", 100)
        found = labels_of([answer], box)
    found = found.transpose(axes)  # axis k of the model is the scan's axis axes[k]
    assert found.dtype == np.uint8
    certain = lead[part] >= 1e-5  # where two are equal either may lead
    assert np.array_equal(found[certain], expected[part][certain])


def test_part_of_a_grid_gives_part_of_the_label_map():
    logits = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((4, 12, 12, 12)), (0, 2, 2, 2))
    answer = answer_of(logits.astype(np.float32), (20, 20, 20))
    box = ((7, 12), (8, 15), (6, 11))
    whole = labels_of([answer], box)
    held = ((3, 10), (4, 11), (2, 8))
    part = answer.scores[(slice(None), *(slice(*rows) for rows in held))]
    assert whole.any()
    assert np.array_equal(labels_of([Answer(answer.model, answer.grid, held, part)], box), whole)


def test_half_precision_logits_are_taken():
    logits = np.random.default_rng(0).standard_normal((4, 5, 6, 7)).astype(np.float16)
    answer = answer_of(logits, (5, 6, 7))
    assert np.array_equal(labels_of([answer], ((0, 5), (0, 6), (0, 7))), logits.argmax(0))


@pytest.mark.parametrize("labels", [CLASSES, REGIONS])
def test_equal_logits_give_the_first_class_and_a_region_needs_a_positive_one(labels):
    ours = model(ByIntensity(), plans_with(), labels=labels)
    assert not segment(ours, torch.zeros(ours.heads, 2, 2, 2)).any()
    assert not segment(ours, torch.full((ours.heads, 2, 2, 2), 0.5), 0.5).any()
