import pytest
from kits_trees import case_folder, make_tree

from nnunet_kits.conversion.cases import find_cases, missing_file
from nnunet_kits.errors import ConversionError
from nnunet_kits.releases import RELEASES

FIRST_TEST = {"19": 210, "21": 300, "23": 589}


@pytest.mark.parametrize("year", RELEASES)
def test_cases_are_found_below_the_repository_and_in_its_data_folder(tmp_path, year):
    root = make_tree(tmp_path / "repository", year, training=(0, 3), test=(FIRST_TEST[year],))
    data = root / RELEASES[year].data_folders[0]
    for source in (root, data):
        cases = find_cases(RELEASES[year], source)
        assert [case.number for case in cases] == [0, 3, FIRST_TEST[year]]
        assert [case.label is None for case in cases] == [False, False, True]
        assert cases[1].image == data / "case_00003" / "imaging.nii.gz"


def test_kits21_takes_the_label_map_of_the_aggregation(tmp_path):
    root = make_tree(tmp_path, "21")
    assert find_cases(RELEASES["21"], root)[0].label.name == "aggregated_MAJ_seg.nii.gz"
    assert find_cases(RELEASES["21"], root, "AND")[0].label.name == "aggregated_AND_seg.nii.gz"


def test_other_files_and_folders_are_no_cases(tmp_path):
    root = make_tree(tmp_path)
    for name in ("case_1", "case_000001", "xcase_00001", "case_00001_old"):
        (root / "dataset" / name).mkdir()
    (root / "dataset" / "case_00007").write_text("a file")
    assert [case.number for case in find_cases(RELEASES["23"], root)] == [0, 1, 2]


def test_excluded_cases_are_left_out_whatever_they_hold(tmp_path):
    root = make_tree(tmp_path, "23", training=(0, 1, 2))
    (root / "dataset" / "case_00950").mkdir()
    assert [case.number for case in find_cases(RELEASES["23"], root, exclude={1, 950})] == [0, 2]


def test_excluding_everything_is_refused(tmp_path):
    with pytest.raises(ConversionError, match="all 3 cases are excluded"):
        find_cases(RELEASES["23"], make_tree(tmp_path), exclude={0, 1, 2})


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ConversionError, match=r"no such folder\. Name the KiTS23 repository or its data folder"):
        find_cases(RELEASES["23"], tmp_path / "none")


def test_an_empty_folder_is_refused_with_the_place_to_get_the_data(tmp_path):
    with pytest.raises(ConversionError, match=r"no case_00000.* folder here or in kits21/data, data.*neheller/kits21"):
        find_cases(RELEASES["21"], tmp_path)


@pytest.mark.parametrize("asked", ["19", "23"])
def test_a_kits21_folder_is_not_taken_for_another_year(tmp_path, asked):
    message = (
        rf"case_00000: aggregated_MAJ_seg.nii.gz belongs to KiTS21, but KiTS{asked} was asked for\. Use --year 21\."
    )
    with pytest.raises(ConversionError, match=message):
        find_cases(RELEASES[asked], make_tree(tmp_path, "21"))


@pytest.mark.parametrize("found", ["19", "23"])
def test_another_years_folder_is_not_taken_for_kits21(tmp_path, found):
    message = r"segmentation.nii.gz belongs to KiTS19 or KiTS23, .* Use --year 19 or --year 23\."
    with pytest.raises(ConversionError, match=message):
        find_cases(RELEASES["21"], make_tree(tmp_path, found))


@pytest.mark.parametrize(
    ("year", "number", "likely"), [("19", 300, "KiTS21"), ("19", 400, "KiTS23"), ("23", 300, "KiTS21")]
)
def test_a_number_of_another_year_is_refused_and_says_which_one_it_looks_like(tmp_path, year, number, likely):
    root = make_tree(tmp_path, year, training=(0,))
    (case_folder(root, number, year)).mkdir()
    message = rf"case_00{number}: is not a case number of KiTS{year}\. This looks like {likely}: .*--exclude {number}"
    with pytest.raises(ConversionError, match=message):
        find_cases(RELEASES[year], root)


def test_a_number_that_no_year_has_is_refused(tmp_path):
    with pytest.raises(ConversionError, match=r"case_00900: is not a case number of KiTS23\. No KiTS edition has it"):
        find_cases(RELEASES["23"], make_tree(tmp_path, training=(0, 900)))


def test_a_labelled_case_among_the_test_numbers_of_kits19_looks_like_kits23(tmp_path):
    root = make_tree(tmp_path, "19", training=(0, 210))
    message = r"case_00210: has segmentation.nii.gz, but it is a test case of KiTS19.*looks like KiTS21 or KiTS23"
    with pytest.raises(ConversionError, match=message):
        find_cases(RELEASES["19"], root)


def test_a_missing_image_or_label_is_named_with_what_to_do(tmp_path):
    root = make_tree(tmp_path)
    (case_folder(root, 1) / "imaging.nii.gz").unlink()
    (case_folder(root, 2) / "segmentation.nii.gz").unlink()
    first, second, third = find_cases(RELEASES["23"], root)
    assert missing_file(RELEASES["23"], first) is None
    assert "case_00001/imaging.nii.gz is missing. The labels come with" in missing_file(RELEASES["23"], second)
    assert "segmentation.nii.gz is missing, but KiTS23 labels this case. Get it again." in missing_file(
        RELEASES["23"], third
    )


def test_a_missing_label_that_another_year_keeps_to_itself_hints_at_that_year(tmp_path):
    root = make_tree(tmp_path, "23", training=(210,))
    (case_folder(root, 210) / "segmentation.nii.gz").unlink()
    (case,) = find_cases(RELEASES["23"], root)
    assert missing_file(RELEASES["23"], case).endswith("Get it again, or is it --year 19, which has no label for it?")
