"""Our loader against nnU-Net's on the small dataset: the same batches, from the same draws, but less is read."""

import copy
import shutil

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from small_data import CASES, FORMS, small_dataset_json, small_plans, write_low_resolution_predictions

from nnunet_kits.augmentation import loader as loading
from nnunet_kits.augmentation.loader import BoxLoader
from nnunet_kits.augmentation.pipeline import accelerate
from nnunet_kits.errors import TrainingError

PATCHES = {
    "volumes": ("Small_3d_fullres", (12, 16, 16), (20, 26, 26)),
    "slices of volumes": ("Small_3d_fullres", (6, 20, 20), (6, 30, 30)),
    "planes": ("Small_2d", (24, 24), (36, 36)),
    "larger than the case": ("Small_3d_fullres", (40, 48, 48), (60, 70, 70)),
}


def folder_of(root, form, configuration):
    return root / "nnUNet_preprocessed" / FORMS[form][0] / configuration


def make(kind, root, patches, form="classes", previous=None, spatial=None, share=0.33, folder=None):
    """A loader of nnU-Net's class or ours; ours with an accelerated pipeline."""
    configuration, patch, margin = PATCHES[patches]
    labels = PlansManager(small_plans(form)).get_label_manager(small_dataset_json(form))
    more = {} if previous is None else {"folder_with_segs_from_previous_stage": str(previous)}
    dataset = nnUNetDatasetBlosc2(str(folder or folder_of(root, form, configuration)), list(CASES), **more)
    transforms = nnUNetTrainer.get_training_transforms(
        *(patch, (-0.5, 0.5), [[1] * len(patch), [0.5] * len(patch)], tuple(range(len(patch)))),
        patches == "slices of volumes",
        is_cascaded=previous is not None,
        foreground_labels=labels.foreground_labels,
        regions=labels.foreground_regions if labels.has_regions else None,
        ignore_label=labels.ignore_label,
    )
    for step in transforms.transforms:
        if type(step) is SpatialTransform:
            for name, value in (spatial or {"p_rotation": 0.5, "p_scaling": 0.5}).items():
                setattr(step, name, value)
    if kind is BoxLoader:
        transforms = accelerate(copy.deepcopy(transforms))
    return kind(dataset, 4, margin, patch, labels, share, transforms=transforms)


def batches(loader, count, seed=0):
    """Some batches, and what the random generators say after them."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    return [next(loader) for _ in range(count)], (np.random.uniform(), torch.rand(1).item())


@pytest.mark.parametrize(
    ("patches", "form", "cascade", "spatial"),
    [
        ("volumes", "classes", False, None),
        ("volumes", "regions", True, None),
        ("volumes", "ignore", False, {"p_rotation": 0.5, "p_elastic_deform": 0.7, "elastic_deform_magnitude": (1, 2)}),
        ("volumes", "classes", False, {"p_rotation": 0.5, "random_crop": True}),
        ("volumes", "classes", False, {"p_rotation": 0.5, "padding_value_seg": 0}),
        ("slices of volumes", "classes", True, None),
        ("slices of volumes", "ignore", False, None),
        ("planes", "regions", False, None),
        ("planes", "classes", True, None),
        ("larger than the case", "classes", False, None),
    ],
)
def test_batches_are_those_of_nnunets_loader_and_so_is_the_order_of_all_draws(
    small_datasets, tmp_path, patches, form, cascade, spatial
):
    previous = None
    if cascade:
        previous = tmp_path
        write_low_resolution_predictions(previous, folder_of(small_datasets, form, PATCHES[patches][0]))
    (stock, after), (ours, after_ours) = (
        batches(make(kind, small_datasets, patches, form, previous, spatial), 3)
        for kind in (nnUNetDataLoader, BoxLoader)
    )
    assert after == after_ours
    for expected, made in zip(stock, ours, strict=True):
        assert expected["keys"].tolist() == made["keys"].tolist()
        assert expected["data"].dtype == made["data"].dtype
        spread = expected["data"].std().item()
        assert (expected["data"] - made["data"]).abs().max().item() <= 3e-4 * spread
        for theirs, own in zip(expected["target"], made["target"], strict=True):
            assert theirs.dtype == own.dtype
            assert (theirs != own).float().mean().item() <= 1e-4


def test_a_patch_that_is_not_turned_is_read_without_its_margin_and_a_turned_one_in_its_box(small_datasets, monkeypatch):
    read, cut = [], loading._cut

    def noted(array, lower, upper, *more):
        read.append(np.subtract(upper, lower).tolist())
        return cut(array, lower, upper, *more)

    monkeypatch.setattr(loading, "_cut", noted)
    next(make(BoxLoader, small_datasets, "volumes", spatial={"p_rotation": 0, "p_scaling": 0}))
    assert read == [[12, 16, 16]] * 8
    read.clear()
    next(make(BoxLoader, small_datasets, "volumes", spatial={"p_rotation": 0, "p_scaling": 1, "scaling": 1.1}))
    assert {tuple(box) for box in read} == {(16, 20, 20)}


def test_locations_of_classes_are_read_only_where_foreground_is_asked_for(small_datasets, monkeypatch):
    files, load = [], loading.load_pickle
    monkeypatch.setattr(loading, "load_pickle", lambda file: files.append(file) or load(file))
    next(make(BoxLoader, small_datasets, "volumes", share=0.25))
    assert len(files) == 1


def test_with_nnunets_transforms_it_is_nnunets_loader(small_datasets):
    stock = make(nnUNetDataLoader, small_datasets, "volumes")
    ours = make(BoxLoader, small_datasets, "volumes")
    ours.transforms = copy.deepcopy(stock.transforms)
    (expected,), (made,) = batches(stock, 1)[0], batches(ours, 1)[0]
    assert torch.equal(expected["data"], made["data"])


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (".b2nd", r"case_0000\d\.b2nd: cannot be read .* preprocess the case again"),
        ("_seg.b2nd", r"case_0000\d_seg\.b2nd: cannot be read"),
        (".pkl", r"case_0000\d\.pkl: holds no locations of the classes .* Preprocess the case again"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_damaged_file_is_named(small_datasets, tmp_path, ending, message, damage):
    folder = tmp_path / "damaged"
    shutil.copytree(folder_of(small_datasets, "classes", "Small_3d_fullres"), folder)
    for case in CASES:
        file = folder / f"{case}{ending}"
        content = file.read_bytes()
        file.unlink()
        if damage == "cut off":
            file.write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingError, match=message):
        next(make(BoxLoader, small_datasets, "volumes", share=1.0, folder=folder))
