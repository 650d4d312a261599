"""Remarks on measures: what is unusual is said in plain words, and nothing is refused for it."""

import csv

import numpy as np
import pytest

from nnunet_kits.images import write_volume
from nnunet_kits.labels import Label
from nnunet_kits.measurement import measure_files
from nnunet_kits.measurement.remarks import USUAL

# (x, y, z), 2 x 2 x 4 mm, x to the patient's right, y to the front, z to the head
AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])
SHAPE = (100, 60, 40)
LOWEST = "the image's lowest value is {}, but a CT in HU has air near -1000"


def kidneys(first=6, last=32):
    """Two kidneys of 24 x 24 mm: 162 mL, and 10.4 cm long at least."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[20:38, 20:38, first:last] = labels[62:80, 20:38, first:last] = Label.KIDNEY
    return labels


def ct(offset=0):
    image = np.full(SHAPE, -100, np.int16)
    image[:, 50:] = -1000
    image[kidneys() > 0] = 150
    return image + np.int16(offset)


def remarks(tmp_path, labels, image=None, affine=AFFINE):
    write_volume(tmp_path / "case.nii.gz", labels, affine)
    if image is not None:
        write_volume(tmp_path / "image.nii.gz", image, affine)
    found, failed = measure_files(
        tmp_path / "case.nii.gz", tmp_path / "out", tmp_path / "image.nii.gz" if image is not None else None
    )
    assert failed == {}
    return list(found["case"].remarks)


def test_two_kidneys_of_usual_size_within_the_scan_have_no_remark(tmp_path):
    assert remarks(tmp_path, kidneys(), ct()) == []


def test_sizes_outside_the_published_ranges_are_said_with_number_and_range(tmp_path):
    labels = kidneys()
    labels[20:38, 20:38] = 0
    labels[20:26, 20:26, 10:15] = Label.KIDNEY  # 12 x 12 x 20 mm
    volume, length = remarks(tmp_path, labels)
    assert volume == "the left kidney's volume without masses, 3 mL, is outside 70 to 270, the range of healthy adults"
    assert (
        length == "the left kidney's length without masses, 2.4 cm, is outside 7.2 to 14.9, the range of adults in CT"
    )


def test_the_ranges_follow_from_the_published_figures():
    fences = 121 - 1.5 * (156 - 121), 203 + 1.5 * (203 - 160)
    assert (USUAL["volume_ml"].low, USUAL["volume_ml"].high) == pytest.approx(fences, abs=3)
    lengths = 10.85 - 3 * 1.22, 11.13 + 3 * 1.26
    assert (USUAL["diameter_3d_cm"].low, USUAL["diameter_3d_cm"].high) == pytest.approx(lengths, abs=0.05)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (ct(1024), f"{LOWEST.format(24)}: it may be stored with an offset, or be no CT"),
        (kidneys(), f"{LOWEST.format(0)}: its values are whole numbers up to 1, as those of a label map"),
        (ct().view(np.uint16), f"{LOWEST.format(150)}: its highest is 65436, as negative numbers become"),
        (ct(1024) / 7, f"{LOWEST.format(3.42857)}: it may be stored with an offset, or be no CT"),
    ],
    ids=["offset", "label map", "unsigned", "no CT"],
)
def test_an_image_that_is_not_in_hu_is_noticed(image, said, tmp_path):
    first, *others = remarks(tmp_path, kidneys(), image)
    assert first.startswith(said)
    if image.dtype == np.int16:
        assert others == [
            f"the {side} kidney's mean, 1174 HU, is outside 0 to 300, the range of kidneys in CT"
            for side in ("right", "left")
        ]


@pytest.mark.parametrize(("planes", "end"), [((6, 40), "head"), ((0, 32), "feet")], ids=["head", "feet"])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_kidney_that_the_scan_cuts_is_named_with_its_side_and_the_end(planes, end, flipped, tmp_path):
    labels, affine = kidneys(), AFFINE.copy()
    labels[20:38, 20:38, slice(*planes)] = Label.KIDNEY
    labels[30:34, 30:34, slice(*planes)] = Label.TUMOR
    if flipped:
        labels, affine = labels[:, :, ::-1], affine @ np.diag([1, 1, -1, 1])
    found = remarks(tmp_path, labels, affine=affine)
    assert f"the scan ends at the {end} in left kidney, left tumor: what lies beyond is not measured" in found
    assert sum("the scan ends" in remark for remark in found) == 1


def test_lesions_of_one_voxel_and_lone_kidneys_are_said(tmp_path):
    labels = kidneys()
    labels[25, 25, 10] = labels[70, 25, 10] = Label.CYST
    labels[30:34, 30:34, 20:22] = Label.TUMOR
    assert remarks(tmp_path, labels) == ["2 lesions of a single voxel each: cyst 1, cyst 2"]
    labels[50:] = 0
    assert remarks(tmp_path, labels)[0] == "one kidney was found: its side is told by the middle of the scan"
    lesion = np.where(labels == Label.TUMOR, labels, 0)
    assert remarks(tmp_path, lesion)[0].startswith("there are lesions, but no kidney")
    assert remarks(tmp_path, np.zeros_like(labels)) == []


def test_remarks_stand_in_the_line_the_table_and_the_json(tmp_path, caplog):
    caplog.set_level("INFO", "nnunet_kits")
    said = remarks(tmp_path, kidneys(), ct(1024))
    (line,) = (record.getMessage() for record in caplog.records if record.getMessage().startswith("case: right kidney"))
    assert line.endswith("; ".join(said))
    with (tmp_path / "out" / "measures.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert all(row["remarks"] == "; ".join(said) for row in rows)
    assert said[0] in (tmp_path / "out" / "measures.json").read_text(encoding="utf-8")
