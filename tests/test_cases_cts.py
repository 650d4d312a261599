"""CTs are found whatever they come in; of DICOM one case a patient's folder, by one rule in every verb."""

import json
import pickle
import shutil

import numpy as np
import pytest
from dicom_series import phantom, write_series

from nnunet_kits.cases.cts import Choice, Cts, cts_of, find_cts
from nnunet_kits.cli.main import main
from nnunet_kits.errors import ImageError
from nnunet_kits.images import Series, read_any_ct

LOCALIZER = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesNumber": 1}


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """Three patients' folders as an export has them, below a folder DICOM; one has two phases, one a localiser too."""
    top = tmp_path_factory.mktemp("export")
    for number, name in enumerate(("PAT0", "PAT1", "PAT2")):
        folder = top / "DICOM" / name / "ST0"
        values = {"PatientID": f"P{number}", "StudyInstanceUID": f"1.2.{number + 1}"}
        write_series(folder / "SE0", phantom((9, 8, 4), number), series=f"1.9.{number}", **values)
        if number == 1:
            write_series(folder / "SE1", phantom((9, 8, 4), 7), series="1.9.7", SeriesDescription="late", **values)
        if number == 2:
            write_series(folder / "SE1", phantom((9, 8, 4), 8), series="1.9.8", **LOCALIZER, **values)
    (top / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    return top


def test_every_patients_folder_is_a_case_and_one_that_is_unclear_does_not_stop_the_others(patients):
    found = find_cts(patients)
    assert list(found.sources) == ["PAT0", "PAT2"]
    assert {name: source.uid for name, source in found.sources.items()} == {"PAT0": "1.9.0", "PAT2": "1.9.2"}
    assert list(found.refused) == ["PAT1"]
    assert "holds 2 series that could be meant" in found.refused["PAT1"]
    assert list(find_cts(patients, Choice("1.9.7")).sources) == ["PAT1"]


def test_a_patients_folder_is_named_by_itself_whatever_lies_between(patients, tmp_path):
    assert list(find_cts(patients / "DICOM" / "PAT0").sources) == ["PAT0"]
    shutil.copytree(patients / "DICOM" / "PAT2", tmp_path / "x" / "case_00003")
    assert list(find_cts(tmp_path / "x").sources) == ["x"]
    with pytest.raises(ImageError, match=r"holds 2 series that could be meant.* 2: late"):
        find_cts(patients / "DICOM" / "PAT1")


def test_files_are_one_case_named_by_their_folder(patients):
    files = sorted((patients / "DICOM" / "PAT0" / "ST0" / "SE0").iterdir())
    (source,) = find_cts(files).sources.values()
    assert isinstance(source, Series)
    assert np.array_equal(read_any_ct(source).array, phantom((9, 8, 4), 0))
    assert pickle.loads(pickle.dumps(source)) == source  # as worker processes get it


def test_several_folders_are_taken_together_an_unclear_one_is_named_and_two_of_one_name_are_refused(patients, tmp_path):
    top = patients / "DICOM"
    found = find_cts([top / "PAT2", top / "PAT1", top / "PAT0"])
    assert (list(found.sources), list(found.refused)) == (["PAT0", "PAT2"], ["PAT1"])
    shutil.copytree(top / "PAT0", tmp_path / "PAT0")
    with pytest.raises(ImageError, match="PAT0: there are two CTs of this name"):
        find_cts([top / "PAT0", tmp_path / "PAT0"])


def test_files_of_every_format_are_found_and_pairs_of_files_are_one(tmp_path):
    touch(tmp_path, "a_0000.mha", "b.nrrd", "c.hdr", "c.img", "d.mhd", "d.raw", "e.nii", "notes.txt")
    assert list(find_cts(tmp_path).sources) == ["a", "b", "c", "d", "e"]
    assert find_cts(tmp_path / "c.img") == Cts({"c": tmp_path / "c.hdr"}, {})
    assert list(find_cts([tmp_path / "e.nii", tmp_path / "a_0000.mha"]).sources) == ["a", "e"]
    touch(tmp_path, "b_0000.nii.gz")
    with pytest.raises(ImageError, match=r"b: both .*b\.nrrd and .*b_0000\.nii\.gz are there"):
        find_cts(tmp_path)


def test_a_choice_of_series_where_there_is_no_dicom_is_an_error(tmp_path):
    touch(tmp_path, "a.nii.gz")
    for given in (tmp_path, tmp_path / "a.nii.gz"):
        with pytest.raises(ImageError, match="holds no DICOM, so --series and --resample-tilt have no meaning"):
            find_cts(given, Choice("2"))
        with pytest.raises(ImageError, match="holds no DICOM"):
            cts_of(["a"], given, Choice("2"))


def test_what_cannot_be_found_is_said(tmp_path, patients):
    touch(tmp_path, "notes.txt", "a.png")
    with pytest.raises(ImageError, match=r"holds no .* file and no case_XXXXX folder with a CT"):
        find_cts(tmp_path)
    with pytest.raises(ImageError, match=r"a\.png: is in no format that is read"):
        find_cts(tmp_path / "a.png")
    with pytest.raises(ImageError, match="no such file or folder"):
        find_cts(tmp_path / "none")
    with pytest.raises(ImageError, match=r"no DICOM folder P9\. Its folders are PAT0, PAT2"):
        cts_of(["P9"], patients)
    with pytest.raises(ImageError, match=r"PAT1: .*holds 2 series"):
        cts_of(["PAT1"], patients)


def test_cts_of_cases_are_their_patients_or_the_only_one(patients):
    assert cts_of(["PAT2"], patients)["PAT2"].uid == "1.9.2"
    only = cts_of(["whatever"], patients / "DICOM" / "PAT1", Choice("2"))
    assert only["whatever"].uid == "1.9.7"


def test_the_verb_series_lists_all_with_what_is_taken_and_why_not(patients, capsys):
    assert main(["series", str(patients), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["cases"]
    assert {case: entry["taken"] for case, entry in found.items()} == {"PAT0": 1, "PAT1": None, "PAT2": 2}
    assert found["PAT2"]["series"][0]["reason"] == "a localiser"
    assert found["PAT0"]["series"] == [
        {
            "number": 1,
            "uid": "1.9.0",
            "study": "1.2.1",
            "series_number": "3",
            "description": "thin",
            "modality": "CT",
            "body_part": "ABDOMEN",
            "slices": 4,
            "rows": 8,
            "columns": 9,
            "spacing_xyz_mm": [0.8, 0.8, 2.5],
            "use": "take",
            "uneven": False,
            "reason": "",
        }
    ]
    assert "Choose with --series NUMBER: 1: thin, 4 slices" in found["PAT1"]["why"]
    assert main(["series", str(patients / "DICOM" / "PAT2")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "PAT2: 2 series, 0 other files"
    assert lines[2].split()[:2] == ["1", "1"]
    assert lines[3].split()[:4] == ["*", "2", "3", "thin"]
    assert lines[4] == "  1: a localiser"
    assert main(["series", str(patients / "DICOM" / "PAT1")]) == 0
    assert "  None is taken by itself. Several could be meant: choose one with --series" in capsys.readouterr().out


def test_the_verb_series_says_that_there_is_none(tmp_path, capsys):
    touch(tmp_path, "notes.txt")
    assert main(["series", str(tmp_path)]) == 2
    assert "holds no DICOM image" in capsys.readouterr().err
