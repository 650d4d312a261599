"""Scans and label maps are found by one rule in files, flat folders and KiTS folders, and none wins over another."""

import pytest
from kits_trees import case_folder, image_of, labels_of, make_tree, save

from nnunet_kits import evaluation
from nnunet_kits.cases.finding import case_of, data_folder, find_label_maps, find_scans, scans_of
from nnunet_kits.errors import ImageError
from nnunet_kits.inference.files import find_cases as predicted_cases
from nnunet_kits.measurement import measure_files
from nnunet_kits.postprocessing import load_chain, postprocess_folder
from nnunet_kits.postprocessing.determine import find_folds
from nnunet_kits.releases import RELEASES
from nnunet_kits.reporting.study import find_cases as reported_cases


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("year", RELEASES)
def test_a_kits_folders_label_maps_and_scans_are_found_from_its_root_and_from_its_data_folder(tmp_path, year):
    root = make_tree(tmp_path, year, training=(1, 0))
    data = root / RELEASES[year].data_folders[0]
    assert data_folder(root) == data_folder(data) == data_folder(root, RELEASES[year]) == data
    for source in (root, data):
        labels = find_label_maps(source, year)
        assert list(labels) == ["case_00000", "case_00001"]
        assert find_label_maps(source) == labels
        assert labels["case_00001"] == case_folder(root, 1, year) / RELEASES[year].label_file(None)
        scans = find_scans(source)
        assert list(scans) == ["case_00000", "case_00001"]
        assert scans_of(["case_00001"], source) == {"case_00001": scans["case_00001"]}


def test_flat_files_are_named_by_their_case_and_hidden_ones_left_out(tmp_path):
    touch(tmp_path, "b_0000.nii.gz", "a.nii", "._a.nii", ".c.nii.gz.12.part", "notes.txt")
    assert find_scans(tmp_path) == {"a": tmp_path / "a.nii", "b": tmp_path / "b_0000.nii.gz"}
    assert list(find_label_maps(tmp_path)) == ["a", "b_0000"]
    assert find_scans(tmp_path / "b_0000.nii.gz") == {"b": tmp_path / "b_0000.nii.gz"}


def test_a_file_of_a_case_folder_has_its_folders_name(tmp_path, monkeypatch):
    touch(tmp_path / "case_00007", "segmentation.nii.gz", "aggregated_OR_seg.nii.gz", "imaging.nii.gz")
    assert {case_of(file) for file in (tmp_path / "case_00007").iterdir()} == {"case_00007"}
    monkeypatch.chdir(tmp_path / "case_00007")
    assert list(find_label_maps(tmp_path / "case_00007" / "segmentation.nii.gz")) == ["case_00007"]
    assert list(find_scans(tmp_path / "case_00007" / "imaging.nii.gz")) == ["case_00007"]


def test_other_endings_are_found_where_they_are_asked_for(tmp_path):
    touch(tmp_path, "a_0000.mha", "b_0000.nii.gz")
    assert list(find_scans(tmp_path, (".mha",))) == ["a"]
    with pytest.raises(ImageError, match=r"holds no \.nrrd file"):
        find_scans(tmp_path, (".nrrd",))


def test_an_image_named_as_nnunet_names_it_comes_before_a_file_that_may_be_its_label_map(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "a.nii.gz", "b.nii")
    assert scans_of(["a", "b"], tmp_path) == {"a": tmp_path / "a_0000.nii.gz", "b": tmp_path / "b.nii"}
    with pytest.raises(ImageError, match=r"no CT of c, neither c_0000\.nii\.gz nor c/imaging\.nii\.gz"):
        scans_of(["c"], tmp_path)


def test_case_folders_without_the_years_label_map_are_another_years(tmp_path):
    root = make_tree(tmp_path, "21", training=(0,))
    with pytest.raises(ImageError, match=r"hold no segmentation\.nii\.gz, the label map of KiTS23\. Is it another"):
        find_label_maps(root, "23")


def test_nothing_to_find_is_refused_with_what_may_be_named(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(ImageError, match=r"none: no such file or folder\. Name a label map, a folder"):
        find_label_maps(tmp_path / "none")
    with pytest.raises(ImageError, match=r"no case_XXXXX folder with a label map\. Name a label map, a folder of"):
        find_label_maps(tmp_path)
    with pytest.raises(ImageError, match=r"none: no such file or folder\. Name a CT, a folder of CTs"):
        scans_of(["a"], tmp_path / "none")


@pytest.fixture
def twice(tmp_path):
    """Predictions of which one is there as case.nii and as case.nii.gz, with references and CTs."""
    for number in (0, 1):
        save(tmp_path / "pred" / f"case_{number:05d}.nii.gz", labels_of(number, "23"))
        save(tmp_path / "ref" / f"case_{number:05d}.nii.gz", labels_of(number, "23"))
        save(tmp_path / "ct" / f"case_{number:05d}_0000.nii.gz", image_of(number))
    save(tmp_path / "pred" / "case_00001.nii", labels_of(0, "23"))
    return tmp_path


VERBS = {
    "evaluate": lambda root: evaluation.evaluate_folder(root / "pred", root / "ref", "23"),
    "measure": lambda root: measure_files(root / "pred", root / "out"),
    "postprocess": lambda root: postprocess_folder(root / "pred", root / "out", load_chain("clean")),
    "determine": lambda root: find_folds([root / "pred"]),
    "report": lambda root: reported_cases(root / "ct", root / "pred", root / "ref", "23"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_lets_one_of_two_label_maps_of_a_case_win(twice, verb):
    with pytest.raises(ImageError, match=r"case_00001: both .*case_00001\.nii and .*case_00001\.nii\.gz are there"):
        VERBS[verb](twice)
    assert not (twice / "out").exists()


@pytest.mark.parametrize(
    "find",
    [
        lambda root: measure_files(root / "ref", root / "out", root / "ct"),
        lambda root: reported_cases(root / "ct", root / "ref", None, "23"),
        lambda root: find_scans(root / "ct"),
    ],
    ids=["measure", "report", "predict"],
)
def test_no_verb_lets_one_of_two_scans_of_a_case_win(twice, find):
    save(twice / "ct" / "case_00001_0000.nii", image_of(0))
    with pytest.raises(ImageError, match=r"case_00001: both .*_0000\.nii.* and .* are there\. Move"):
        find(twice)


def test_a_scan_beside_one_without_channel_is_refused_by_predict(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "a.nii.gz")
    with pytest.raises(ImageError, match=r"a: both .* are there"):
        predicted_cases(tmp_path, tmp_path / "out", ".nii.gz")


def test_two_years_label_maps_in_one_case_folder_are_told_apart_by_the_year_alone(tmp_path):
    root = make_tree(tmp_path, "21", training=(0,))
    save(case_folder(root, 0, "21") / "segmentation.nii.gz", labels_of(0, "23"))
    with pytest.raises(ImageError, match=r"case_00000: both .* are there"):
        find_label_maps(root)
    assert find_label_maps(root, "21")["case_00000"].name == "aggregated_MAJ_seg.nii.gz"


def test_a_kits_folder_of_predictions_is_postprocessed_under_the_cases_names_and_never_over_itself(tmp_path):
    root = make_tree(tmp_path / "kits", "23", training=(0, 1))
    assert postprocess_folder(root, tmp_path / "out", load_chain("clean")) == {}
    assert sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz")) == ["case_00000.nii.gz", "case_00001.nii.gz"]
