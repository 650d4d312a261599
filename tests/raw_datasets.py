"""Small raw datasets of nnU-Net, written with nibabel as stock nnU-Net reads them."""

import json

import nibabel as nib
import numpy as np
from kits_trees import IPL, SHAPE, image_of, labels_of

CLASSES = {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3}
REGIONS = {"background": 0, "kidney_and_mass": [1, 2, 3], "mass": [2, 3], "tumor": 2}
NAMES = [f"case_{number:05d}" for number in range(4)]


def save(path, array, affine=IPL):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


def dataset_json(labels, reader="NibabelIOWithReorient", cases=4):
    content = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": cases, "file_ending": ".nii.gz"}
    if reader is not None:
        content["overwrite_image_reader_writer"] = reader
    if any(isinstance(value, list) for value in labels.values()):
        content["regions_class_order"] = [1, 3, 2]
    return content


def write_dataset(raw, name="Dataset220_KiTS2023", labels=CLASSES, test=(), reader="NibabelIOWithReorient"):
    """Four training cases of random HU with a kidney, a tumour and sometimes a cyst, and two folds."""
    folder = raw / name
    for number, case in enumerate(NAMES):
        save(folder / "imagesTr" / f"{case}_0000.nii.gz", image_of(number).astype(np.int16))
        save(folder / "labelsTr" / f"{case}.nii.gz", labels_of(number, "23"))
    for number in test:
        save(folder / "imagesTs" / f"case_{number:05d}_0000.nii.gz", image_of(number).astype(np.int16))
    (folder / "dataset.json").write_text(json.dumps(dataset_json(labels, reader)))
    folds = [{"train": NAMES[2:], "val": NAMES[:2]}, {"train": NAMES[:2], "val": NAMES[2:]}]
    (folder / "splits_final.json").write_text(json.dumps(folds))
    return folder


def write_rule(path, **changes):
    """A rule that keeps the labels and does nothing, with changes."""
    nothing = {"summary": "For tests.", "source": "ours", "deviations": [], "labels": None, "ignore": []}
    path.write_text(json.dumps({**nothing, "preparation": None, "preset": None, **changes}))
    return path


def write_validation(results, name, folds, shape=SHAPE, affine=IPL, model="T__P__3d_fullres"):
    """A trained model's validation folders: fold -> cases, each with a box of ones that is larger in fold 1."""
    for fold, cases in folds.items():
        for case in cases:
            array = np.zeros(shape, np.uint8)
            array[1:3, 2:4, 3 : 5 + (fold == 1)] = 1
            save(results / name / model / f"fold_{fold}" / "validation" / f"{case}.nii.gz", array, affine)
    return results / name / model


assert SHAPE == (6, 10, 12)
