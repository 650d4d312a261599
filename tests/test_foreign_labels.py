"""A label map with a value that is no label is refused by every door, and by each with the same words."""

import json

import nibabel as nib
import numpy as np
import pytest
from small_report import KITS_AFFINE, case_arrays

from nnunet_kits.cases.finding import check_labels_beside
from nnunet_kits.errors import ImageError
from nnunet_kits.evaluation import evaluate_case
from nnunet_kits.images import read_labels
from nnunet_kits.measurement.files import Task as MeasureTask
from nnunet_kits.measurement.files import measure_task
from nnunet_kits.postprocessing.determine import Task as SelectionTask
from nnunet_kits.postprocessing.determine import score_task
from nnunet_kits.postprocessing.files import Task as PostprocessTask
from nnunet_kits.postprocessing.files import postprocess_file
from nnunet_kits.postprocessing.pipeline import load_chain
from nnunet_kits.releases import release_of
from nnunet_kits.reporting.study import ReportCase, examine, load_case

CHAIN, YEAR = load_chain("two_kidneys"), release_of("23")


def tampered(folder, value, slope=1.0):
    """A CT, its true label map, and that map with one voxel of another stored value; scaled by the header."""
    ct, labels = case_arrays()
    changed = labels.astype(np.float64)
    changed[4, 40, 20] = value
    files = {name: folder / f"{name}.nii.gz" for name in ("image", "label", "foreign")}
    for name, array in (("image", ct), ("label", labels), ("foreign", changed)):
        image = nib.Nifti1Image(array, KITS_AFFINE)
        if name == "foreign":
            image.header.set_slope_inter(slope, 0)
        nib.save(image, files[name])
    return files


DOORS = {
    "evaluate a prediction": lambda f: evaluate_case(f["foreign"], f["label"], "23"),
    "evaluate against a reference": lambda f: evaluate_case(f["label"], f["foreign"], "23"),
    "measure": lambda f: measure_task(MeasureTask("foreign", f["foreign"], None)),
    "measure with a CT": lambda f: measure_task(MeasureTask("foreign", f["foreign"], f["image"])),
    "postprocess": lambda f: postprocess_file(PostprocessTask(f["foreign"], f["label"].with_name("out.nii"), CHAIN)),
    "choose a chain": lambda f: score_task(SelectionTask("foreign", f["foreign"], f["label"]), YEAR, [CHAIN]),
    "choose a chain by a reference": lambda f: score_task(SelectionTask("a", f["label"], f["foreign"]), YEAR, [CHAIN]),
    "report": lambda f: examine((ReportCase("foreign", f["image"], f["foreign"]), "23")),
    "report a reference": lambda f: examine((ReportCase("a", f["image"], f["label"], f["foreign"]), "23")),
    "show": lambda f: load_case(ReportCase("foreign", f["image"], f["foreign"])),
    "show a reference": lambda f: load_case(ReportCase("foreign", f["image"], f["label"], f["foreign"])),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize(
    ("value", "said"),
    [(258, "258"), (1.5, "1.5"), (np.nan, "nan"), (-1, "-1"), (4, "4"), (256, "256"), (257, "257"), (1e30, r"1e\+30")],
)
def test_a_value_that_is_no_label_is_refused_and_named(tmp_path, door, value, said):
    with pytest.raises(
        ImageError, match=rf"foreign\.nii\.gz holds the value {said}, but its labels are 0, 1, 2, 3\. Choose"
    ):
        door(tampered(tmp_path, value))


TABLE = """<?xml version="1.0" encoding="UTF-8"?> <CaretExtension> <VolumeInformation Index="0"> <LabelTable>
<Label Key="1" Red="1.0" Green="0.0" Blue="0.0" Alpha="1"><![CDATA[{}]]></Label>
<Label Key="2" Red="0.0" Green="1.0" Blue="0.0" Alpha="1"><![CDATA[{}]]></Label>
</LabelTable> </VolumeInformation> </CaretExtension>"""


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("spleen", "tumor"), "calls label 1 'spleen', but in KiTS it is kidney"),
        (("kidney_right", "kidney_left"), "calls label 2 'kidney_left', but in KiTS it is tumor"),
        (("tumor", "kidney"), "calls label 1 'tumor', but in KiTS it is kidney"),
        (("Niere", "kidney_tumor"), None),
    ],
)
def test_label_maps_that_name_other_structures_are_refused_in_header_and_dataset_json(tmp_path, names, said):
    label = tampered(tmp_path, 2)["label"]
    described = {"labels": {"background": 0, names[0]: 1, names[1]: 2}, "channel_names": {"0": "CT"}}
    (tmp_path / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    named = nib.load(label)
    named.header.extensions.append(nib.nifti1.Nifti1Extension(0, TABLE.format(*names).encode()))
    nib.save(named, tmp_path / "named.nii.gz")
    for door, where in (
        (lambda: read_labels(tmp_path / "named.nii.gz"), r"named\.nii\.gz"),
        (lambda: check_labels_beside(label), r"dataset\.json"),
    ):
        if said is None:
            door()
        else:
            with pytest.raises(ImageError, match=f"{where}: {said}, and would be read as that"):
                door()


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_header_that_scales_labels_to_other_values_is_refused(tmp_path, door):
    with pytest.raises(ImageError, match=r"foreign\.nii\.gz holds the value 4, but its labels are 0, 1, 2, 3\. Choose"):
        door(tampered(tmp_path, 2, slope=2.0))  # tumour becomes 4
