"""What stock nnU-Net makes of a derived dataset."""

import json
import subprocess
import sys

import numpy as np
import pytest
from nnunetv2.experiment_planning.verify_dataset_integrity import check_cases, verify_labels
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from raw_datasets import save, write_rule
from small_data import CASES, CT, phantom_of
from small_plans import CLASSES, configuration, dataset_json, plans

from nnunet_kits.derivation.derive import derive
from nnunet_kits.derivation.rule import load_rule
from nnunet_kits.derivation.settings import Settings

LESIONS = {"labels": {"kidney": ["kidney"], "tumor": ["tumor"], "cyst": ["cyst"]}, "ignore": ["background"]}
SIZE = [None, 20, 36]


@pytest.fixture(scope="module")
def lesions(tmp_path_factory):
    """Tiny phantoms, and the lesions in the region of their kidneys, derived as Chen and Zhang do, but smaller."""
    raw = tmp_path_factory.mktemp("derived") / "nnUNet_raw"
    source = raw / "Dataset220_KiTS2023"
    for number, case in enumerate(CASES):
        phantom = phantom_of(number)
        save(source / "imagesTr" / f"{case}_0000.nii.gz", phantom.image.astype(np.int16), phantom.affine)
        save(source / "labelsTr" / f"{case}.nii.gz", phantom.label, phantom.affine)
    content = {**dataset_json(CLASSES), "overwrite_image_reader_writer": "NibabelIOWithReorient"}
    (source / "dataset.json").write_text(json.dumps(content))
    preparation = {"region": {"margin_voxels": [1, 3, 3]}, "size": SIZE}
    rule = load_rule(str(write_rule(raw.parent / "lesions.json", **LESIONS, preparation=preparation)))
    return derive(Settings(raw, 220, 221, rule, ("reference",), workers=1)).dataset


def test_nnunets_own_checks_pass(lesions, capsys):
    labels = list(json.loads((lesions / "dataset.json").read_text())["labels"].values())
    assert labels == [0, 1, 2, 3, 4]
    for case in CASES:
        image, label = (str(lesions / path) for path in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"))
        assert check_cases([image], label, 1, NibabelIOWithReorient)
        assert verify_labels(label, NibabelIOWithReorient, labels)
    assert "Error" not in capsys.readouterr().out


def test_nnunets_preprocessor_without_resampling_leaves_the_prepared_voxels(lesions):
    own = {f"resampling_fn_{kind}": "no_resampling_hack" for kind in ("data", "seg", "probabilities")}
    nothing = {f"{key}_kwargs": {} for key in own}
    content = plans(**{"3d_fullres": configuration(**own, **nothing)})
    content["foreground_intensity_properties_per_channel"] = CT
    manager = PlansManager(content)
    for case in CASES[:2]:
        image, label = (str(lesions / path) for path in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"))
        data, seg, _ = DefaultPreprocessor(verbose=False).run_case(
            [image], label, manager, manager.get_configuration("3d_fullres"), str(lesions / "dataset.json")
        )
        hu, _ = NibabelIOWithReorient().read_images([image])
        assert data.shape[2:] == tuple(SIZE[1:])
        assert np.allclose(data, (np.clip(hu, -80, 300) - 100) / 80, atol=1e-5)
        assert set(np.unique(seg)) <= {1, 2, 3, 4}  # nowhere background


@pytest.mark.slow
def test_nnunet_verifies_plans_and_preprocesses_a_derived_dataset_by_its_own_command(lesions, nnunet, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(lesions.parent))
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    program = (
        "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry as e; e()"
    )
    words = ["-d", "221", "--verify_dataset_integrity", "-c", "3d_fullres", "-np", "1", "-npfp", "1"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "verify_dataset_integrity Done." in done.stdout
    folder = nnunet / "nnUNet_preprocessed" / lesions.name / "nnUNetPlans_3d_fullres"
    assert sorted(path.stem for path in folder.glob("*.pkl")) == CASES
