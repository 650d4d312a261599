"""Which patches make a batch: the loaders of every sampling, on the small dataset."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from small_data import CASES, FORMS, dataset_of, small_dataset_json, small_plans, write_low_resolution_predictions

from nnunet_kits.errors import TrainingError
from nnunet_kits.training.focus import DEFAULT_SHARES, FocusLoader, label_shares, voxels_of
from nnunet_kits.training.loaders import TripleLoader, share_of_process
from nnunet_kits.training.sampling import SAMPLINGS
from nnunet_kits.training.slices import PositiveSliceLoader
from nnunet_kits.training.trainers import trainer_class

CPU = torch.device("cpu")
PATCH = (8, 12, 12)
WITH_CYST = {"case_00000", "case_00001"}
AIMS = {"tumor": {2}, "cyst": {3}, "kidney": {1}}


def labels_of(form):
    return PlansManager(small_plans(form)).get_label_manager(small_dataset_json(form))


def make(loader, root, form="classes", batch=4, patch=PATCH, shares=None, share=1.0, **options):
    dataset = options.pop("dataset", None) or dataset_of(root, form)
    given = label_shares(shares, FORMS[form][1], "here")
    settings = {"transforms": None, "plain_transforms": None, "oversample_foreground_percent": share, **options}
    margin = settings.pop("margin", 0)
    return loader(dataset, batch, [edge + margin for edge in patch], patch, labels_of(form), shares=given, **settings)


# tumour focus


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", AIMS)
def test_every_forced_patch_is_around_a_voxel_of_the_label_it_aims_at(small_datasets, form, name):
    np.random.seed(0)
    loader = make(FocusLoader, small_datasets, form, patch=(1, 1, 1), shares={name: 1})
    for _ in range(5):
        batch = next(loader)
        assert {int(value) for value in batch["target"].flatten()} == AIMS[name]
        assert name != "cyst" or set(batch["keys"]) <= WITH_CYST


@pytest.mark.parametrize("form", ["classes", "regions"])
def test_labels_are_aimed_at_in_their_shares_and_their_cases_equally_often(small_datasets, form):
    np.random.seed(0)
    loader = make(FocusLoader, small_datasets, form, batch=400, patch=(1, 1, 1))
    batch = next(loader)
    counts = Counter(int(value) for value in batch["target"].flatten())
    for name, share in DEFAULT_SHARES.items():
        (label,) = AIMS[name]
        assert abs(counts[label] - 400 * share) < 4 * math.sqrt(400 * share * (1 - share))
    cases = Counter(key for key, value in zip(batch["keys"], batch["target"].flatten(), strict=True) if value == 3)
    assert set(cases) == WITH_CYST
    assert min(cases.values()) > 25


def test_the_patches_that_are_not_forced_are_nnunets(small_datasets):
    np.random.seed(0)
    loader = make(FocusLoader, small_datasets, batch=300, patch=(1, 1, 1), share=1 / 3)
    batch = next(loader)
    values = batch["target"].flatten()
    assert (values[200:] > 0).all()
    assert (values[:200] > 0).sum() < 40
    assert set(Counter(batch["keys"][:200])) == set(CASES)


def test_with_an_ignore_label_the_patches_that_are_not_forced_are_around_annotated_voxels(small_datasets):
    np.random.seed(0)
    loader = make(FocusLoader, small_datasets, "ignore", batch=100, patch=(1, 1, 1), share=0.0)
    assert (next(loader)["target"] != 4).all()


def test_a_label_that_no_case_has_leaves_its_share_to_the_others(small_datasets):
    np.random.seed(0)
    dataset = dataset_of(small_datasets, "classes", cases=CASES[2:])
    loader = make(FocusLoader, small_datasets, batch=60, patch=(1, 1, 1), dataset=dataset)
    counts = Counter(int(value) for value in next(loader)["target"].flatten())
    assert set(counts) == {1, 2}
    assert 30 <= counts[2] <= 50
    with pytest.raises(TrainingError, match=r"none of the 3 training cases has a voxel .* \(labels \[3\]\)"):
        make(FocusLoader, small_datasets, dataset=dataset, shares={"cyst": 1})


def test_names_of_labels_of_regions_and_of_the_labels_that_regions_are_made_of_can_be_aimed_at():
    classes, regions = FORMS["classes"][1], FORMS["ignore"][1]
    assert label_shares(None, classes, "") == {frozenset([2]): 0.5, frozenset([3]): 0.25, frozenset([1]): 0.25}
    assert label_shares(None, regions, "") == label_shares(None, classes, "")
    assert label_shares({"mass": 3, "kidney": 1}, regions, "") == {frozenset([2, 3]): 0.75, frozenset([1]): 0.25}
    without_cyst = {"background": 0, "kidney": 1, "tumor": 2}
    assert label_shares(None, without_cyst, "") == {frozenset([2]): 2 / 3, frozenset([1]): 1 / 3}
    with pytest.raises(TrainingError, match="here: foreground_shares names cyst, but the dataset has kidney, tumor"):
        label_shares({"cyst": 1}, without_cyst, "here")
    with pytest.raises(TrainingError, match=r"but the dataset has kidney, tumor, cyst, kidney_and_mass, mass\."):
        label_shares({"ignore": 1}, regions, "here")


def test_voxels_come_from_the_list_of_the_label_of_its_members_or_of_the_region_around_it():
    segmentation = np.zeros((1, 3, 4, 5), np.int8)
    segmentation[0, 1, 1, 1:4] = [1, 2, 3]
    kidney, tumour, cyst = [[0, 1, 1, 1]], [[0, 1, 1, 2]], [[0, 1, 1, 3]]
    classes = {1: kidney, 2: tumour, 3: cyst}
    regions = {(1, 2, 3): [*cyst, *kidney, *tumour], (2, 3): [*tumour, *cyst], 2: tumour, (-1, 0, 1): [[0, 0, 0, 0]]}
    for labels, expected in (({3}, cyst), ({2, 3}, [*tumour, *cyst]), ({1}, kidney), ({2}, tumour)):
        for lists in (classes, regions):
            assert voxels_of(frozenset(labels), lists, segmentation).tolist() == expected
    assert len(voxels_of(frozenset([3]), {1: kidney, 2: tumour, 3: []}, segmentation)) == 0
    assert len(voxels_of(frozenset([3]), {(1, 2, 3): [], (2, 3): []}, segmentation)) == 0


# positive slices


@pytest.mark.parametrize("form", FORMS)
def test_exactly_five_of_seven_slices_are_positive_and_any_positive_slice_of_the_case_can_be_one(small_datasets, form):
    np.random.seed(0)
    dataset = dataset_of(small_datasets, form, "Small_2d", CASES[:1])
    segmentation = np.asarray(dataset.load_case(CASES[0])[1][:])[0]
    positive = set(np.flatnonzero(np.isin(segmentation, (1, 2, 3)).any((1, 2))).tolist())
    share = SAMPLINGS["PositiveSlices"].foreground_share
    loader = make(PositiveSliceLoader, small_datasets, form, 7, (12, 12), share=share, dataset=dataset)
    forced, found = [loader.get_do_oversample(sample) for sample in range(7)], Counter()
    assert forced == [False] * 2 + [True] * 5
    for _ in range(400):
        properties = dataset.load_case(CASES[0])[3]
        lower, upper = loader.get_bbox(segmentation.shape, True, properties["class_locations"])
        assert np.subtract(upper, lower).tolist() == [1, 12, 12]
        found[lower[0]] += 1
    assert set(found) == positive
    if form != "ignore":
        expected = 400 / len(positive)
        assert max(found.values()) < 3 * expected
    batch = next(loader)
    assert batch["data"].shape == (7, 1, 12, 12)


def test_a_case_without_a_label_gives_any_slice(small_datasets):
    loader = make(PositiveSliceLoader, small_datasets, patch=(12, 12))
    lower, upper = loader.get_bbox((20, 30, 30), True, {1: [], 2: [], 3: []})
    assert np.subtract(upper, lower).tolist() == [1, 12, 12]


# two patches, six images


def plain(image, segmentation):
    return {"image": image, "segmentation": segmentation}


def shifted(image, segmentation):
    """Stands for augmentation: crops the margin too, and tells itself by values no CT has."""
    inner = (slice(None), *(slice(2, -2) for _ in image.shape[1:]))
    image[:] += 1000  # in place, as transforms may
    return {"image": image[inner], "segmentation": segmentation[inner]}


@pytest.mark.parametrize(("configuration", "patch"), [("Small_3d_fullres", PATCH), ("Small_2d", (12, 12))])
def test_a_batch_is_each_patch_as_it_is_and_twice_augmented(small_datasets, configuration, patch):
    np.random.seed(0)
    loader = make(
        *(TripleLoader, small_datasets, "classes", 2, patch),
        **{"margin": 4, "transforms": shifted, "plain_transforms": plain},
        dataset=dataset_of(small_datasets, "classes", configuration),
    )
    batch = next(loader)
    assert batch["data"].shape == (6, 1, *patch)
    assert batch["target"].shape == (6, 1, *patch)
    for first in (0, 3):
        original, *augmented = batch["data"][first : first + 3]
        assert all(torch.allclose(image - 1000, original, atol=1e-3) for image in augmented)
        assert len({str(batch["keys"][first + i]) for i in range(3)}) == 1
        assert original.max() < 500
    assert torch.equal(batch["target"][0], batch["target"][2])
    assert not torch.equal(batch["data"][0], batch["data"][3])


def test_targets_at_several_resolutions_and_the_previous_stage_of_a_cascade_are_stacked_too(small_datasets, tmp_path):
    folder = small_datasets / "nnUNet_preprocessed" / FORMS["classes"][0] / "Small_3d_fullres"
    write_low_resolution_predictions(tmp_path, folder)

    def two_scales(image, segmentation):
        assert segmentation.shape[0] == 2  # the second channel is the previous stage's
        return {"image": image, "segmentation": [segmentation[:1], segmentation[:1, ::2, ::2, ::2]]}

    dataset = dataset_of(small_datasets, "classes", folder_with_segs_from_previous_stage=str(tmp_path))
    loader = make(
        *(TripleLoader, small_datasets, "classes", 2),
        **{"transforms": two_scales, "plain_transforms": two_scales, "dataset": dataset},
    )
    target = next(loader)["target"]
    assert [tuple(scale.shape) for scale in target] == [(6, 1, 8, 12, 12), (6, 1, 4, 6, 6)]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 8), st.integers(0, 20), st.floats(0, 1))
def test_processes_share_a_batch_out_so_that_together_they_make_it_as_one_would(processes, more, share):
    patches = processes + more
    parts = [share_of_process(patches, share, processes, rank) for rank in range(processes)]
    assert sum(count for count, _ in parts) == patches
    forced = [sample >= round(count * (1 - part)) for count, part in parts for sample in range(count)]
    assert forced == [patch >= round(patches * (1 - share)) for patch in range(patches)]


# in a trainer


@pytest.mark.parametrize("form", ["classes", "ignore"])
def test_our_loaders_are_configured_as_nnunets_own_but_for_the_sampling(small, form):
    made = {}
    for name in ("ResUNetTrainer", "ResUNetTrainer_TumorFocus"):
        trainer = trainer_class(name)(
            {**small_plans(form), "continue_training": False}, "3d_fullres", 0, small_dataset_json(form), CPU
        )
        trainer.initialize()
        made[name] = [augmenter.data_loader for augmenter in trainer.get_dataloaders()]
    for stock, ours in zip(*made.values(), strict=True):
        for attribute in ("patch_size", "final_patch_size", "batch_size", "indices", "oversample_foreground_percent"):
            assert np.array_equal(getattr(stock, attribute), getattr(ours, attribute))
        assert [repr(t) for t in steps_of(stock)] == [repr(t) for t in steps_of(ours)]
    assert isinstance(made["ResUNetTrainer_TumorFocus"][0], FocusLoader)
    assert type(made["ResUNetTrainer_TumorFocus"][1]) is type(made["ResUNetTrainer"][1])


def steps_of(loader):
    """Names of the transforms of a loader."""
    return [type(getattr(step, "transform", step)).__name__ for step in loader.transforms.transforms]


def test_the_cascades_previous_stage_reaches_the_network_as_channels(small, tmp_path):
    given = {**small_plans("classes", batch_size=6), "continue_training": False}
    trainer = trainer_class("ResUNetTrainer_TripleBatch")(
        given, "3d_cascade_fullres", 0, small_dataset_json("classes"), CPU
    )
    write_low_resolution_predictions(trainer.folder_with_segs_from_previous_stage, trainer.preprocessed_dataset_folder)
    trainer.initialize()
    batch = next(trainer.get_dataloaders()[0])
    assert batch["data"].shape == (6, 4, 16, 24, 24)
    assert [tuple(scale.shape) for scale in batch["target"]][:2] == [(6, 1, 16, 24, 24), (6, 1, 8, 12, 12)]
    assert set(np.unique(batch["data"][:, 1:])) == {0, 1}
    assert np.isfinite(trainer.train_step(batch)["loss"])


def test_background_processes_make_the_same_kind_of_batches(small, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    given = {**small_plans("regions"), "continue_training": False}
    trainer = trainer_class("ResUNetTrainer_TumorFocus")(given, "3d_fullres", 0, small_dataset_json("regions"), CPU)
    trainer.initialize()
    loaders = trainer.get_dataloaders()
    try:
        assert all(next(loader)["data"].shape == (2, 1, 16, 24, 24) for loader in loaders)
    finally:
        for loader in loaders:
            loader._finish()
