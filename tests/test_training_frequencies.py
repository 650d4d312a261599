"""Class weights from how many voxels every label has in the training cases."""

import json
import os

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from small_data import CASES, dataset_of, small_dataset_json, small_plans

from nnunet_kits.training.frequencies import ENDING, label_counts
from nnunet_kits.training.trainers import trainer_class
from nnunet_kits.training.weights import class_weights


def test_counts_are_those_of_the_preprocessed_segmentations_of_just_these_cases(small_datasets, tmp_path):
    dataset = dataset_of(small_datasets, "classes")
    cases = CASES[:2]
    whole = np.concatenate([np.asarray(dataset.load_case(case)[1][:]).ravel() for case in cases])
    counts = label_counts(dataset, cases, [0, 1, 2, 3], tmp_path / "counts.json")
    assert counts.tolist() == [int((np.maximum(whole, 0) == label).sum()) for label in range(4)]


def test_a_case_is_counted_once_and_again_when_its_file_has_changed(tmp_path):
    save, kept = nnUNetDatasetBlosc2.save_case, tmp_path / "counts.json"
    options = {"chunks": (1, 4, 4, 4), "blocks": (1, 4, 4, 4)}
    (tmp_path / "data").mkdir()
    stem = str(tmp_path / "data" / "case")
    image, segmentation = np.zeros((1, 4, 4, 4), np.float32), np.full((1, 4, 4, 4), -1, np.int16)
    segmentation[0, 0, 0, :3] = 2
    save(image, segmentation, {}, stem, **options)
    dataset = nnUNetDatasetBlosc2(str(tmp_path / "data"), ["case"])
    assert label_counts(dataset, ["case"], [0, 2], kept).tolist() == [61, 3]
    first = kept.read_text()
    assert label_counts(dataset, ["case"], [0, 2], kept).tolist() == [61, 3]
    assert kept.read_text() == first
    os.remove(f"{stem}_seg.b2nd")
    os.remove(f"{stem}.b2nd")
    segmentation[0, 1] = 2
    save(image, segmentation, {}, stem, **options)
    assert label_counts(dataset, ["case"], [0, 2], kept).tolist() == [45, 19]
    kept.write_text("{ damaged")
    assert label_counts(dataset, ["case"], [0, 2], kept).tolist() == [45, 19]
    assert json.loads(kept.read_text())["case"]["voxels"] == {"0": 45, "2": 19}


def test_weights_grow_with_the_square_root_of_rarity():
    counts = {0: 10000, 1: 400, 2: 100, 3: 25}
    assert class_weights(counts, None) == pytest.approx([1, 5, 10, 20])
    regions = [(1, 2, 3), (2, 3), 2]
    expected = [(10000 / 525) ** 0.5, (10400 / 125) ** 0.5, (10425 / 100) ** 0.5]
    assert class_weights(counts, regions) == pytest.approx(expected)
    assert class_weights({0: 900, 1: 100, 2: 0}, None) == pytest.approx([1, 3, 3])
    assert class_weights({0: 10, 1: 0}, [1]) == [1]


@pytest.mark.parametrize(("form", "outputs"), [("classes", 4), ("ignore", 3)])
def test_a_trainer_gives_its_loss_the_weights_of_its_training_cases(small, form, outputs):
    given = {**small_plans(form, kits_training={"class_weights": "frequencies"}), "continue_training": False}
    make = trainer_class("ResUNetTrainer_DiceWeightedCE")
    trainer = make(given, "3d_fullres", 0, small_dataset_json(form), torch.device("cpu"))
    weights = trainer._class_weights()
    assert len(weights) == outputs
    assert weights[-1] > 1
    counts = label_counts(dataset_of(small, form), CASES[:4], [0, 1, 2, 3], small / f"other{ENDING}")
    assert weights == class_weights(dict(enumerate(counts)), None if form == "classes" else [(1, 2, 3), (2, 3), 2])
