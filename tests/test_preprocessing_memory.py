"""How much memory preprocessing a case is reckoned to need."""

import nibabel as nib
import numpy as np

from nnunet_kits.preprocessing.memory import bytes_needed


def test_memory_is_reckoned_from_the_header_and_the_spacing(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((10, 20, 30), np.int16), np.diag([2, 2, 2, 1.0])), tmp_path / "image.nii.gz")
    nothing = bytes_needed(tmp_path / "none.mha", [1.0, 1.0, 1.0])
    assert bytes_needed(tmp_path / "image.nii.gz", [1.0, 1.0, 1.0]) == nothing + 6000 * 8 * 8
    assert bytes_needed(tmp_path / "image.nii.gz", [4.0, 4.0, 4.0]) == nothing + 6000 * 7
    assert bytes_needed(tmp_path / "image.nii.gz", [2.0, 2.0]) == nothing + 6000 * 9
    assert bytes_needed(tmp_path / "image.nii.gz", []) == nothing + 6000 * 9
