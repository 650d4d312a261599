"""How much memory preprocessing a case is reckoned to need, and how many workers are started for that."""

import nibabel as nib
import numpy as np

from nnunet_kits.preprocessing.memory import BASE_BYTES, bytes_needed, default_workers


def test_memory_is_reckoned_from_the_header_and_the_spacing(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((10, 20, 30), np.int16), np.diag([2, 2, 2, 1.0])), tmp_path / "image.nii.gz")
    nothing = bytes_needed(tmp_path / "none.mha", [1.0, 1.0, 1.0])
    assert bytes_needed(tmp_path / "image.nii.gz", [1.0, 1.0, 1.0]) == nothing + 6000 * 8 * 8
    assert bytes_needed(tmp_path / "image.nii.gz", [4.0, 4.0, 4.0]) == nothing + 6000 * 7
    assert bytes_needed(tmp_path / "image.nii.gz", [2.0, 2.0]) == nothing + 6000 * 9
    assert bytes_needed(tmp_path / "image.nii.gz", []) == nothing + 6000 * 9


def test_small_cases_are_preprocessed_without_starting_workers(monkeypatch):
    monkeypatch.setattr("nnunet_kits.cases.memory.cpu_count", lambda: 4)
    monkeypatch.setattr("nnunet_kits.cases.memory.available_memory_bytes", lambda: 100e9)
    assert default_workers([BASE_BYTES + 20_000_000] * 9) == 1
    assert default_workers([BASE_BYTES + 20_000_000] * 11) == 4
    assert default_workers([BASE_BYTES + 2_000_000_000] * 3) == 3
    assert default_workers([BASE_BYTES] * 5) == 4  # no NIfTI: how large they are is not known
