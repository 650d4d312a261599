"""One small dataset, preprocessed in this process: with classes, with regions, and with regions and an ignore label."""

import functools
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from small_plans import CLASSES, REGIONS, architecture, configuration, dataset_json, plans

from nnunet_kits.phantom.render import make_phantom

FORMS = {
    "classes": ("Dataset220_KiTS2023", CLASSES),
    "regions": ("Dataset221_KiTS2023Regions", REGIONS),
    "ignore": ("Dataset222_KiTS2023Ignore", {**REGIONS, "ignore": 4}),
}
CASES = [f"case_{number:05d}" for number in range(5)]
SPACING = [7.0, 7.0, 7.0]
CT = {
    "0": {
        "mean": 100.0, "std": 80.0, "percentile_00_5": -80.0, "percentile_99_5": 300.0,
        "median": 100.0, "min": -200.0, "max": 400.0,
    }
}  # fmt: skip


def small_plans(form, **changes):
    """Plans of one form: 2d, 3d_lowres, 3d_fullres and the cascade; ``changes`` go into every configuration."""
    full = configuration(spacing=SPACING, data_identifier="Small_3d_fullres", **changes)
    low = {**full, "data_identifier": "Small_3d_lowres", "spacing": [10.0, 10.0, 10.0]}
    flat = {
        **full,
        **{"data_identifier": "Small_2d", "patch_size": [32, 32], "spacing": SPACING[1:], "batch_size": 7},
        **{"architecture": architecture(dimensions=2), **changes},
    }
    cascade = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    made = plans(**{"2d": flat, "3d_fullres": full, "3d_lowres": {**low, "next_stage": "3d_cascade_fullres"}})
    made["configurations"]["3d_cascade_fullres"] = cascade
    made["dataset_name"], made["foreground_intensity_properties_per_channel"] = FORMS[form][0], CT
    return made


def small_dataset_json(form):
    return {**dataset_json(FORMS[form][1]), "numTraining": len(CASES)}


@functools.cache
def phantom_of(number):
    return make_phantom(number, size="tiny")


def write_raw(raw, form):
    """Images and labels of five tiny phantoms; the last has no cyst."""
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    for number, case in enumerate(CASES):
        phantom = phantom_of(number)
        label = phantom.label.copy()
        if number == len(CASES) - 1:
            label[label == 3] = 1
        if form == "ignore":
            label[: len(label) // 4] = 4
        nib.save(nib.Nifti1Image(phantom.image, phantom.affine), raw / "imagesTr" / f"{case}_0000.nii.gz")
        nib.save(nib.Nifti1Image(label, phantom.affine), raw / "labelsTr" / f"{case}.nii.gz")
    (raw / "dataset.json").write_text(json.dumps(small_dataset_json(form)))


def write_preprocessed(root, form):
    """What nnU-Net's planning and preprocessing leave behind, below ``root``; not of the low resolution."""
    dataset = FORMS[form][0]
    raw, folder = root / "nnUNet_raw" / dataset, root / "nnUNet_preprocessed" / dataset
    write_raw(raw, form)
    shutil.copytree(raw / "labelsTr", folder / "gt_segmentations")
    shutil.copy(raw / "dataset.json", folder)
    (folder / "dataset_fingerprint.json").write_text("{}")
    (folder / "splits_final.json").write_text(json.dumps([{"train": CASES[:4], "val": CASES[4:]}] * 2))
    given = small_plans(form)
    (folder / "SmallPlans.json").write_text(json.dumps(given))
    manager = PlansManager(given)
    for name in ("2d", "3d_fullres"):
        found = manager.get_configuration(name)
        (folder / found.data_identifier).mkdir()
        for case in CASES:
            DefaultPreprocessor(verbose=False).run_case_save(
                str(folder / found.data_identifier / case),
                [str(raw / "imagesTr" / f"{case}_0000.nii.gz")],
                str(raw / "labelsTr" / f"{case}.nii.gz"),
                *(manager, found, small_dataset_json(form)),
            )


def write_low_resolution_predictions(folder, preprocessed):
    """The predictions that a cascade stands on: here the truth."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for case in CASES:
        segmentation = nnUNetDatasetBlosc2(str(preprocessed), [case]).load_case(case)[1][0]
        nnUNetDatasetBlosc2.save_seg(np.clip(segmentation, 0, 3).astype(np.uint8), str(Path(folder) / case))


def dataset_of(root, form, configuration="Small_3d_fullres", cases=CASES, **options):
    """Preprocessed cases below ``root``, as trainers read them."""
    folder = root / "nnUNet_preprocessed" / FORMS[form][0] / configuration
    return nnUNetDatasetBlosc2(str(folder), list(cases), **options)
