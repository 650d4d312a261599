"""Samplings that go through all cases or slices once a pass: what 200 batches are made of, counted."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import CASES, FORMS, small_dataset_json, small_plans
from test_training_sampling import dataset_of, make, plain

from nnunet_kits.errors import TrainingError
from nnunet_kits.training.passes import Passes
from nnunet_kits.training.sampling import SAMPLINGS
from nnunet_kits.training.slices import AllSlicesLoader, LabelledSliceLoader
from nnunet_kits.training.trainers import trainer_class
from nnunet_kits.training.windows import TripleWindowLoader, WindowLoader, body, window_starts

BATCHES = 200
CPU = torch.device("cpu")


def segmentations(root, form, configuration="Small_2d"):
    dataset = dataset_of(root, form, configuration)
    return {case: np.asarray(dataset.load_case(case)[1][:])[0] for case in CASES}


def places(loader, batches):
    """Case and box of every patch of some batches, in their order, drawn as the loader's own loop draws them."""
    found, known = [], {}
    for case in CASES:
        _, labels, _, properties = loader._data.load_case(case)
        known[case] = labels.shape[1:], properties["class_locations"]
    for _ in range(batches):
        for sample, case in enumerate(loader.get_indices()):
            forced = loader.get_do_oversample(sample)
            lower, upper = loader.get_bbox(known[case][0], forced, known[case][1])
            found.append((str(case), forced, lower, upper))
    return found


def assert_as_often_as_expected(counts, expected):
    """Within five standard deviations of a binomial, for everything that can be drawn; nothing else is drawn."""
    total, whole = sum(counts.values()), sum(expected.values())
    assert set(counts) <= {key for key, share in expected.items() if share > 0}
    for key, share in expected.items():
        p = share / whole
        assert abs(counts[key] - total * p) <= 5 * np.sqrt(total * p * (1 - p)) + 1e-9, key


# passes


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(1, 9), st.integers(0, 10))
def test_everything_comes_once_a_pass_however_the_row_is_cut(things, size, seed):
    row = [thing for first in range(0, 4 * things * size, size) for thing in Passes(things, seed).at(first, size)]
    orders = [tuple(row[start : start + things]) for start in range(0, 4 * things, things)]
    assert all(sorted(order) == list(range(things)) for order in orders)
    assert things < 6 or len(set(orders)) > 1


def test_processes_that_take_turns_share_a_pass_out(small_datasets):
    np.random.seed(3)
    loader = make(AllSlicesLoader, small_datasets, batch=4, patch=(12, 12))
    state = {**vars(loader)}
    copies = []
    for process in range(3):
        copy = object.__new__(AllSlicesLoader)
        vars(copy).update(state, number_of_threads_in_multithreaded=3)
        copy.set_thread_id(process)
        copies.append(copy)
    alone = [slices for _ in range(30) for slices in loader.plan()]
    together = [slices for _ in range(10) for copy in copies for slices in copy.plan()]
    assert together == alone


# slices


@pytest.mark.parametrize("form", FORMS)
def test_all_slices_come_equally_often_empty_ones_too(small_datasets, form):
    np.random.seed(0)
    depths = {case: len(labels) for case, labels in segmentations(small_datasets, form).items()}
    whole = {(case, z) for case, depth in depths.items() for z in range(depth)}
    loader = make(
        AllSlicesLoader,
        small_datasets,
        form,
        7,
        (12, 12),
        share=0.0,
        dataset=dataset_of(small_datasets, form, "Small_2d"),
    )
    found = places(loader, BATCHES)
    assert all(np.subtract(upper, lower).tolist() == [1, 12, 12] for _, _, lower, upper in found)
    counts = Counter((case, lower[0]) for case, _, lower, _ in found)
    assert set(counts) == whole
    passes = 7 * BATCHES / len(whole)
    assert set(counts.values()) <= {int(passes), int(np.ceil(passes))}


@pytest.mark.parametrize("form", FORMS)
def test_five_of_seven_slices_are_drawn_in_proportion_to_their_labelled_voxels(small_datasets, form):
    np.random.seed(0)
    truth = segmentations(small_datasets, form)
    share = SAMPLINGS["LabelledSlices"].foreground_share
    dataset = dataset_of(small_datasets, form, "Small_2d")
    loader = make(LabelledSliceLoader, small_datasets, form, 7, (12, 12), share=share, dataset=dataset)
    found = places(loader, BATCHES)
    assert [forced for _, forced, _, _ in found] == ([False] * 2 + [True] * 5) * BATCHES
    assert set(Counter(case for case, *_ in found).values()) == {7 * BATCHES // len(CASES)}
    for case, labels in truth.items():
        labelled = dict(enumerate(np.isin(labels, (1, 2, 3)).sum((1, 2)).tolist()))
        drawn = Counter(lower[0] for name, forced, lower, _ in found if name == case and forced)
        assert_as_often_as_expected(drawn, labelled)
        others = Counter(lower[0] for name, forced, lower, _ in found if name == case and not forced)
        if form != "ignore":  # there nnU-Net draws around annotated voxels
            assert_as_often_as_expected(others, dict.fromkeys(labelled, 1))


def test_a_case_without_a_label_gives_any_slice(small_datasets):
    np.random.seed(0)
    dataset = dataset_of(small_datasets, "classes", "Small_2d")
    loader = make(LabelledSliceLoader, small_datasets, patch=(12, 12), dataset=dataset)
    loader._counts = dict.fromkeys(CASES, np.zeros(9, int))
    assert len({lower[0] for _, _, lower, _ in places(loader, 20)}) > 5


# windows


def windows_by_hand(shape, size, steps):
    """The windows of Zhang's generator, loop by loop."""
    shape = [max(edge, side) for edge, side in zip(shape, size, strict=True)]
    number = [(edge - side) // step + 1 for edge, side, step in zip(shape, size, steps, strict=True)]
    starts = []
    for i in range(number[0] + 1):
        for j in range(number[1] + 1):
            for k in range(number[2] + 1):
                start = [i * steps[0], j * steps[1], k * steps[2]]
                beyond = [start[a] + size[a] - shape[a] for a in range(3)]
                if all(b <= 0 for b in beyond) or any(0 < b <= size[a] * 0.5 for a, b in enumerate(beyond)):
                    starts.append(start)
    return starts


@settings(deadline=None, max_examples=100)
@given(st.tuples(*[st.integers(1, 400)] * 3))
def test_windows_are_those_of_the_authors_loops(shape):
    assert window_starts(shape, (80, 160, 160)).tolist() == windows_by_hand(shape, (80, 160, 160), (60, 120, 120))


def test_the_body_is_the_box_of_what_is_brighter_than_the_air():
    image = np.full((1, 5, 6, 7), -2.0)
    assert [bounds.tolist() for bounds in body(image)] == [[0, 0, 0], [5, 6, 7]]
    image[0, 2:4, 1, 3:6] = 0
    assert [bounds.tolist() for bounds in body(image)] == [[2, 1, 3], [4, 2, 6]]


@pytest.mark.parametrize("form", FORMS)
def test_windows_with_tumour_are_drawn_four_times_as_often_as_others_and_each_case_once_a_pass(small_datasets, form):
    np.random.seed(0)
    truth = segmentations(small_datasets, form, "Small_3d_fullres")
    loader = make(WindowLoader, small_datasets, form, 5, shares={"tumor": 1}, margin=4)
    found = places(loader, BATCHES)
    assert all(np.subtract(upper, lower).tolist() == [12, 16, 16] for _, _, lower, upper in found)
    assert set(Counter(case for case, *_ in found).values()) == {BATCHES}
    several = 0
    for case, labels in truth.items():
        image = np.asarray(loader._data.load_case(case)[0][:])[0]
        bright = np.argwhere(image > image.min() + 1e-3)
        lower, upper = bright.min(0), bright.max(0) + 1
        expected = {}
        for start in windows_by_hand(upper - lower, (8, 12, 12), (6, 9, 9)):
            inside = tuple(
                slice(a + b, min(a + b + size, c))
                for a, b, size, c in zip(lower, start, (8, 12, 12), upper, strict=True)
            )
            expected[tuple(int(a + b) - 2 for a, b in zip(lower, start, strict=True))] = (
                4 if (labels[inside] == 2).any() else 1
            )
        several += len(set(expected.values())) == 2
        assert_as_often_as_expected(Counter(tuple(low) for name, _, low, _ in found if name == case), expected)
    assert several >= 3


def test_each_window_is_in_the_batch_as_it_is_and_twice_augmented(small_datasets):
    np.random.seed(0)
    loader = make(
        *(TripleWindowLoader, small_datasets, "classes", 2),
        **{"shares": {"tumor": 1}, "transforms": plain, "plain_transforms": plain},
    )
    batch = next(loader)
    assert batch["data"].shape == (6, 1, 8, 12, 12)
    assert len(set(batch["keys"][:3])) == len(set(batch["keys"][3:])) == 1
    assert set(batch["keys"]) == set(loader._plan[i][0] for i in range(2))
    assert torch.equal(batch["data"][0], batch["data"][2])


# in a trainer


@pytest.mark.parametrize(
    ("name", "configuration", "batch", "processes"),
    [("AllSlices", "2d", 7, 0), ("LabelledSlices", "2d", 7, 0), ("TripleWindows", "3d_fullres", 6, 2)],
)
def test_a_trainer_trains_on_its_batches(small, monkeypatch, name, configuration, batch, processes):
    monkeypatch.setenv("nnUNet_n_proc_DA", str(processes))
    given = {**small_plans("regions", batch_size=batch), "continue_training": False}
    trainer = trainer_class(f"PlainUNetTrainer_{name}")(given, configuration, 0, small_dataset_json("regions"), CPU)
    trainer.initialize()
    training, validation = trainer.get_dataloaders()
    try:
        assert np.isfinite(trainer.train_step(next(training))["loss"])
        if processes:
            assert training.generator.number_of_threads_in_multithreaded == processes
    finally:
        for loader in (training, validation) if processes else ():
            loader._finish()


def test_windows_need_a_label_that_is_tumour(small):
    labels = {"background": 0, "kidney": 1}
    given = {**small_plans("classes", batch_size=6), "continue_training": False}
    with pytest.raises(TrainingError, match="foreground_shares names tumor, but the dataset has kidney"):
        trainer_class("ResUNetTrainer_TripleWindows")(
            given, "3d_fullres", 0, {**small_dataset_json("classes"), "labels": labels}, CPU
        )


@pytest.mark.parametrize(("given", "expected"), [({}, 0.0), ({"oversample_foreground_percent": 0.5}, 0.5)])
def test_no_oversampling_is_a_share_of_nothing(small, given, expected):
    plans = {**small_plans("classes", kits_training=given), "continue_training": False}
    trainer = trainer_class("ResUNetTrainer_AllSlices")(plans, "2d", 0, small_dataset_json("classes"), CPU)
    assert trainer.oversample_foreground_percent == expected
    plans["configurations"]["3d_fullres"]["kits_training"] = {"oversample_foreground_percent": 0}
    plans["continue_training"] = False
    trainer = trainer_class("ResUNetTrainer")(plans, "3d_fullres", 0, small_dataset_json("classes"), CPU)
    assert trainer.oversample_foreground_percent == 0
