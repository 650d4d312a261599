"""``nnunet_kits measure`` on files, and on real label maps beside SimpleITK."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from conftest import SHARED
from small_kidneys import SHAPE, SPACING, abdomen, grid_affine

from nnunet_kits.cli.main import main
from nnunet_kits.errors import ImageError
from nnunet_kits.images import write_volume
from nnunet_kits.measurement import measure_files, measure_labels

REAL = SHARED / "kits_real"


@pytest.fixture
def folder(tmp_path):
    """Two label maps and their CTs."""
    for number in range(2):
        labels = abdomen()
        labels[:, :, : 2 * number] = 0
        write_volume(tmp_path / f"case_{number:05d}.nii.gz", labels, grid_affine(SPACING))
        image = np.full(SHAPE, 30 + number, np.int16)
        (tmp_path / "ct").mkdir(exist_ok=True)
        write_volume(tmp_path / "ct" / f"case_{number:05d}_0000.nii.gz", image, grid_affine(SPACING))
    return tmp_path


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_writes_a_table_and_a_json_with_the_numbers_of_python(folder, capsys):
    assert main(["measure", str(folder), "-o", str(folder / "out"), "--images", str(folder / "ct")]) == 0
    rows = table(folder / "out" / "measures.csv")
    assert list(rows[0])[:6] == ["case", "structure", "component", "side", "volume_ml", "axial_diameter_cm"]
    assert len(rows) == 14
    content = json.loads((folder / "out" / "measures.json").read_text())
    expected = measure_labels(abdomen(), grid_affine(SPACING), np.full(SHAPE, 30))
    for row, kept, measure in zip(
        rows, content["cases"]["case_00000"]["structures"], expected.structures, strict=False
    ):
        assert (row["case"], row["structure"], row["side"]) == ("case_00000", measure.structure, measure.side)
        assert float(row["volume_ml"]) == pytest.approx(measure.volume_ml, abs=1e-4)
        assert kept["diameter_3d_cm"] == pytest.approx(measure.diameter_3d_cm)
        assert kept["centre_k"] == pytest.approx(measure.centre_k)
        assert (row["hu_mean"], kept["hu_mean"]) == ("30.0000", 30.0)
    assert rows[0]["exophytic_share"] == ""
    assert "case_00001: right kidney" in capsys.readouterr().out
    assert not list((folder / "out").glob(".*"))


def test_a_single_file_and_a_kits_folder_are_measured_under_the_cases_name(folder):
    single, failed = measure_files(folder / "case_00001.nii.gz", folder / "a", folder / "ct" / "case_00001_0000.nii.gz")
    assert list(single) == ["case_00001"]
    assert failed == {}
    kits = folder / "kits" / "case_00001"
    kits.mkdir(parents=True)
    (folder / "case_00001.nii.gz").rename(kits / "segmentation.nii.gz")
    (folder / "ct" / "case_00001_0000.nii.gz").rename(kits / "imaging.nii.gz")
    assert measure_files(folder / "kits", folder / "b", folder / "kits")[0] == single
    assert measure_files(kits / "segmentation.nii.gz", folder / "c", kits / "imaging.nii.gz")[0] == single


def test_a_damaged_file_is_named_and_the_others_are_measured_and_kept(folder, capsys, caplog):
    good = (folder / "case_00001.nii.gz").read_bytes()
    (folder / "case_00001.nii.gz").write_bytes(good[:-50])
    assert main(["measure", str(folder), "-o", str(folder / "out")]) == 2
    assert "case_00001.nii.gz" in capsys.readouterr().err
    assert {row["case"] for row in table(folder / "out" / "measures.csv")} == {"case_00000"}
    (folder / "case_00001.nii.gz").write_bytes(good)
    caplog.set_level("INFO", "nnunet_kits")
    found, failed = measure_files(folder, folder / "out")
    assert caplog.messages[0] == "1 of 2 cases were measured before"
    assert len(caplog.messages) == 2
    assert failed == {}
    assert found == measure_files(folder, folder / "anew")[0]


def test_two_processes_measure_the_same(folder):
    assert measure_files(folder, folder / "a", workers=2) == measure_files(folder, folder / "b")


def test_what_cannot_be_measured_is_refused_with_its_name(folder):
    with pytest.raises(ImageError, match=r"nothing: no such file or folder\. Name a label map"):
        measure_files(folder / "nothing", folder / "out")
    empty = folder / "empty"
    empty.mkdir()
    with pytest.raises(ImageError, match=r"no CT of case_00000, neither case_00000_0000.nii.gz nor"):
        measure_files(folder, folder / "out", empty)
    labels = abdomen()
    labels[5, 5, 5] = 4
    write_volume(folder / "case_00000.nii.gz", labels, grid_affine(SPACING))
    write_volume(folder / "ct" / "case_00001_0000.nii.gz", np.zeros(SHAPE, np.int16), grid_affine((3.0, 2.0, 2.1)))
    _, failed = measure_files(folder, folder / "out", folder / "ct")
    assert "case_00000.nii.gz holds the value 4, but its labels are 0, 1, 2, 3" in failed["case_00000"]
    assert "case_00001: the affines of image and label map differ" in failed["case_00001"]


def test_a_map_that_does_not_say_which_side_is_right_is_refused(folder):
    image = nib.Nifti1Image(abdomen(), grid_affine(SPACING))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, folder / "case_00000.nii.gz")
    found, failed = measure_files(folder, folder / "out")
    assert list(found) == ["case_00001"]
    assert failed["case_00000"].endswith(
        "case_00000.nii.gz: neither sform nor qform is set, so nothing tells right from left. "
        "Export it again, or copy the affine of a file on the same voxels."
    )


# real label maps


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real label maps in {REAL}")
@pytest.mark.parametrize(
    ("year", "case"), [("kits23", "case_00061"), ("kits19", "case_00015"), ("kits23", "case_00470")]
)
def test_real_kidneys_and_lesions_have_simpleitks_volumes_and_centres_and_plausible_sizes(year, case, tmp_path):
    import SimpleITK

    file = REAL / year / case / "segmentation.nii.gz"
    found = measure_files(file, tmp_path)[0][case]
    kidneys = [m for m in found.structures if m.structure == "kidney_and_mass"]
    assert [m.side for m in kidneys] == ["right", "left"]
    assert found.midline_source == "kidneys"
    for kidney in kidneys:
        assert 100 < kidney.volume_ml < 500
        assert 7 < kidney.diameter_3d_cm < 17
    image = SimpleITK.ReadImage(str(file))
    labels = SimpleITK.ConnectedComponent(image == 2, True)
    shapes = SimpleITK.LabelShapeStatisticsImageFilter()
    shapes.ComputeFeretDiameterOn()
    shapes.Execute(labels)
    tumors = [m for m in found.structures if m.structure == "tumor"]
    by_size = sorted(shapes.GetLabels(), key=shapes.GetPhysicalSize, reverse=True)
    assert len(by_size) == len(tumors)
    for tumor, label in zip(tumors, by_size, strict=True):
        assert tumor.volume_ml == pytest.approx(shapes.GetPhysicalSize(label) / 1000, rel=1e-5)
        x, y, z = shapes.GetCentroid(label)  # LPS
        assert (tumor.centre_x_mm, tumor.centre_y_mm, tumor.centre_z_mm) == pytest.approx((-x, -y, z), abs=1e-3)
        assert tumor.diameter_3d_cm == pytest.approx(
            shapes.GetFeretDiameter(label) / 10, abs=max(image.GetSpacing()) / 10
        )
        assert 0.2 < tumor.axial_diameter_cm <= tumor.diameter_3d_cm < 20
        assert 0 <= tumor.exophytic_share <= 1
