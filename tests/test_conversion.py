import json
import os

import nibabel as nib
import numpy as np
import pytest
from kits_trees import IPL, case_folder, image_of, labels_of, make_tree, save

from nnunet_kits.conversion.convert import convert, stale_splits
from nnunet_kits.conversion.settings import Settings
from nnunet_kits.errors import ConversionError
from nnunet_kits.releases import RELEASES

FIRST_TEST = {"19": 210, "21": 300, "23": 589}


@pytest.fixture
def settings(tmp_path):
    """Settings for a folder of the year below tmp_path, into tmp_path/raw."""

    def make(year="23", **options) -> Settings:
        source = options.pop("source", tmp_path / "kits")
        if not source.exists():
            make_tree(source, year)
        return Settings(RELEASES[year], source, tmp_path / "raw", workers=1, **options)

    return make


def files(dataset) -> list[str]:
    return sorted(str(p.relative_to(dataset)) for p in dataset.rglob("*") if p.is_file())


def content(dataset) -> dict[str, tuple[int, bytes]]:
    return {name: (os.stat(dataset / name).st_mtime_ns, (dataset / name).read_bytes()) for name in files(dataset)}


@pytest.mark.parametrize("year", RELEASES)
def test_each_year_becomes_a_dataset_with_the_same_voxels_on_the_same_grid(tmp_path, settings, year):
    make_tree(tmp_path / "kits", year, training=(0, 1, 2), test=(FIRST_TEST[year],))
    made = convert(settings(year))
    release = RELEASES[year]
    assert made.dataset.name == f"Dataset{release.dataset_id:03d}_{release.dataset_name}"
    assert files(made.dataset) == sorted(
        [f".conversion/case_{n:05d}.json" for n in (0, 1, 2, FIRST_TEST[year])]
        + ["conversion.json", "dataset.json", "splits_final.json"]
        + [f"imagesTr/case_{n:05d}_0000.nii.gz" for n in (0, 1, 2)]
        + [f"imagesTs/case_{FIRST_TEST[year]:05d}_0000.nii.gz"]
        + [f"labelsTr/case_{n:05d}.nii.gz" for n in (0, 1, 2)]
    )
    for number in (0, 1, 2):
        image = nib.load(made.dataset / f"imagesTr/case_{number:05d}_0000.nii.gz")
        label = nib.load(made.dataset / f"labelsTr/case_{number:05d}.nii.gz")
        assert image.get_data_dtype() == np.int16
        assert label.get_data_dtype() == np.uint8
        assert np.array_equal(image.get_fdata(), image_of(number))
        assert np.array_equal(np.asarray(label.dataobj), labels_of(number, year))
        for grid in (image.get_sform(), image.get_qform(), label.get_sform(), label.get_qform()):
            assert np.allclose(grid, IPL, atol=1e-6)
        assert (int(label.header["sform_code"]), int(label.header["qform_code"])) == (1, 1)


def test_dataset_json_says_what_nnunet_and_a_reader_need(settings):
    dataset = json.loads((convert(settings("19")).dataset / "dataset.json").read_text())
    assert dataset["channel_names"] == {"0": "CT"}
    assert dataset["labels"] == {"background": 0, "kidney": 1, "tumor": 2}
    assert dataset["numTraining"] == 3
    assert dataset["file_ending"] == ".nii.gz"
    assert dataset["overwrite_image_reader_writer"] == "NibabelIOWithReorient"
    assert dataset["licence"] == "CC BY-NC-SA 4.0"
    assert dataset["release"] == "KiTS19"
    assert "arxiv.org/abs/1904.00445" in dataset["reference"]
    assert dataset["name"] == "KiTS2019"


def test_regions_are_written_with_the_order_in_which_later_ones_overwrite_earlier_ones(settings):
    dataset = json.loads((convert(settings(label_mode="regions")).dataset / "dataset.json").read_text())
    assert dataset["labels"] == {"background": 0, "kidney_and_mass": [1, 2, 3], "mass": [2, 3], "tumor": 2}
    assert dataset["regions_class_order"] == [1, 3, 2]


def test_regions_of_kits19_know_no_cyst(settings):
    dataset = json.loads((convert(settings("19", label_mode="regions")).dataset / "dataset.json").read_text())
    assert dataset["labels"] == {"background": 0, "kidney_and_mass": [1, 2], "tumor": 2}
    assert dataset["regions_class_order"] == [1, 2]


def test_conversion_json_records_source_version_and_every_case(settings):
    made = convert(settings("21", aggregation="AND"))
    record = json.loads((made.dataset / "conversion.json").read_text())
    assert (record["edition"], record["aggregation"], record["mode"]) == ("KiTS21", "AND", "compact")
    case = record["cases"]["case_00002"]
    assert case["edition"] == "KiTS21"
    assert case["shape"] == [6, 10, 12]
    assert case["spacing_mm"] == [5.0, 0.75, 0.875]
    assert case["affine"] == IPL.tolist()
    labels, counts = np.unique(labels_of(2, "21", shift=1), return_counts=True)
    assert case["voxels_per_label"] == {str(label): count for label, count in zip(labels, counts, strict=True)}
    assert case["sources"]["label"]["path"].endswith("kits21/data/case_00002/aggregated_AND_seg.nii.gz")
    assert len(case["sha256"]["image"]) == 64
    assert case["stored"] == "int16"


@pytest.mark.parametrize("aggregation", ["MAJ", "AND", "OR"])
def test_kits21_labels_are_those_of_the_aggregation(settings, aggregation):
    made = convert(settings("21", aggregation=aggregation))
    shift = ("MAJ", "AND", "OR").index(aggregation)
    label = nib.load(made.dataset / "labelsTr" / "case_00001.nii.gz")
    assert np.array_equal(np.asarray(label.dataobj), labels_of(1, "21", shift))


def test_a_uint16_label_map_with_qform_only_is_normalised(tmp_path, settings):
    root = make_tree(tmp_path / "kits", "19")
    image = nib.Nifti1Image(labels_of(1, "19").astype(np.uint16), IPL)
    image.set_qform(IPL, code=1)
    image.set_sform(None, code=0)
    nib.save(image, case_folder(root, 1, "19") / "segmentation.nii.gz")
    label = nib.load(convert(settings("19")).dataset / "labelsTr" / "case_00001.nii.gz")
    assert label.get_data_dtype() == np.uint8
    assert (int(label.header["sform_code"]), int(label.header["qform_code"])) == (1, 1)
    assert np.array_equal(np.asarray(label.dataobj), labels_of(1, "19"))


def test_copy_keeps_the_image_byte_by_byte(tmp_path, settings):
    made = convert(settings(mode="copy"))
    source = case_folder(tmp_path / "kits", 1) / "imaging.nii.gz"
    copy = made.dataset / "imagesTr" / "case_00001_0000.nii.gz"
    assert copy.read_bytes() == source.read_bytes()
    assert copy.stat().st_ino != source.stat().st_ino
    assert made.cases["case_00001"]["stored"] == "float64"


def test_hardlink_and_symlink_take_no_space(tmp_path, settings):
    source = case_folder(tmp_path / "kits", 1) / "imaging.nii.gz"
    for mode in ("hardlink", "symlink"):
        link = convert(settings(mode=mode, name=mode, dataset_id=len(mode))).dataset / "imagesTr/case_00001_0000.nii.gz"
        assert link.stat().st_ino == source.stat().st_ino
        assert link.is_symlink() == (mode == "symlink")


def test_converting_a_hardlinked_dataset_again_leaves_the_source_alone(tmp_path, settings):
    source = case_folder(tmp_path / "kits", 1) / "imaging.nii.gz"
    make_tree(tmp_path / "kits")
    before = source.read_bytes()
    for mode in ("hardlink", "symlink", "hardlink", "compact"):
        assert convert(settings(mode=mode)).converted == 3
        assert source.read_bytes() == before


def test_compact_copies_and_names_an_image_that_is_no_integer(tmp_path, settings):
    root = make_tree(tmp_path / "kits")
    source = save(case_folder(root, 1) / "imaging.nii.gz", image_of(1) + 0.25)
    made = convert(settings())
    assert (made.dataset / "imagesTr" / "case_00001_0000.nii.gz").read_bytes() == source.read_bytes()
    assert made.cases["case_00001"]["stored"] == "float64"
    assert made.notes == ["Copied as they are, because int16 would lose something: case_00001."]


def test_a_second_run_converts_nothing_and_touches_no_case(settings):
    first = convert(settings())
    before = content(first.dataset)
    second = convert(settings())
    assert (first.converted, second.converted) == (3, 0)
    after = content(second.dataset)
    for name in before:
        if name.startswith(("images", "labels", ".conversion")):
            assert after[name] == before[name]
        assert after[name][1] == before[name][1]


def test_another_label_mode_rewrites_dataset_json_alone(settings):
    convert(settings())
    made = convert(settings(label_mode="regions"))
    assert made.converted == 0
    assert "mass" in json.loads((made.dataset / "dataset.json").read_text())["labels"]


def test_another_mode_or_aggregation_converts_every_case_again(settings):
    assert convert(settings("21")).converted == 3
    assert convert(settings("21", mode="copy")).converted == 3
    assert convert(settings("21", mode="copy", aggregation="OR")).converted == 3
    assert convert(settings("21", mode="copy", aggregation="OR")).converted == 0


def test_a_changed_source_converts_that_case_again(tmp_path, settings):
    convert(settings())
    save(case_folder(tmp_path / "kits", 1) / "imaging.nii.gz", image_of(9))
    made = convert(settings())
    assert made.converted == 1
    assert np.array_equal(nib.load(made.dataset / "imagesTr/case_00001_0000.nii.gz").get_fdata(), image_of(9))


@pytest.mark.parametrize("lost", ["imagesTr/case_00001_0000.nii.gz", "labelsTr/case_00001.nii.gz"])
def test_a_lost_or_truncated_output_is_made_again(settings, lost):
    made = convert(settings())
    whole = (made.dataset / lost).read_bytes()
    (made.dataset / lost).write_bytes(whole[:-1])
    assert convert(settings()).converted == 1
    (made.dataset / lost).unlink()
    assert convert(settings()).converted == 1
    assert (made.dataset / lost).read_bytes() == whole


@pytest.mark.parametrize(
    "content", ['{"format": 1', "", "null", "[]", '{"outputs": []}', '{"outputs": {"imagesTr": "x"}}']
)
def test_a_damaged_record_is_no_record(settings, content):
    made = convert(settings())
    (made.dataset / ".conversion" / "case_00001.json").write_text(content)
    assert convert(settings()).converted == 1


def test_what_a_killed_run_left_in_the_making_is_removed(settings):
    dataset = settings().dataset
    staging = dataset / ".conversion" / "case_00001.12345.staging"
    staging.mkdir(parents=True)
    (staging / "image.nii.gz").write_bytes(b"half")
    assert convert(settings()).dataset == dataset
    assert not list(dataset.rglob("*.staging"))


def test_excluded_cases_are_left_out_and_taken_out(settings):
    convert(settings())
    made = convert(settings(exclude={1, 777}))
    assert made.training == ["case_00000", "case_00002"]
    assert not [name for name in files(made.dataset) if "00001" in name]
    assert json.loads((made.dataset / "dataset.json").read_text())["numTraining"] == 2
    assert json.loads((made.dataset / "conversion.json").read_text())["excluded"] == ["case_00001", "case_00777"]


def test_known_bad_cases_are_kept_and_named(tmp_path, settings):
    make_tree(tmp_path / "kits", "19", training=(67, 68, 69))
    made = convert(settings("19"))
    assert made.training == ["case_00067", "case_00068", "case_00069"]
    assert "case_00068 is kept, though nnU-Net's authors left it out" in made.notes[0]
    assert len(made.notes) == 1


def test_cases_of_an_earlier_folder_are_kept_and_named(tmp_path, settings):
    convert(settings())
    make_tree(tmp_path / "more", training=(3, 4))
    made = convert(settings(source=tmp_path / "more"))
    assert made.training == [f"case_{n:05d}" for n in range(5)]
    assert made.notes == [
        "Kept from an earlier conversion, though not in this source: case_00000, case_00001, case_00002."
    ]


def test_a_case_without_any_label_is_named(tmp_path, settings):
    root = make_tree(tmp_path / "kits")
    save(case_folder(root, 1) / "segmentation.nii.gz", np.zeros_like(labels_of(1, "23")))
    assert convert(settings()).notes == ["No voxel is labelled in case_00001."]


def test_many_cases_without_a_single_cyst_look_like_kits19(tmp_path, settings):
    make_tree(tmp_path / "kits", "23", training=range(1, 41, 2))  # odd numbers have none
    assert convert(settings()).notes == ["None of 20 cases has a cyst, but half of KiTS23's do. Is it KiTS19?"]


def test_a_data_folder_with_another_years_name_is_used_and_named(tmp_path, settings):
    make_tree(tmp_path / "kits").joinpath("dataset").rename(tmp_path / "kits" / "data")
    assert convert(settings()).notes == ["The cases lie in data, where KiTS23 has dataset. Is it its data?"]


def test_the_splits_lie_in_the_dataset_and_follow_the_number_of_folds(settings):
    made = convert(settings(folds=3))
    splits = json.loads((made.dataset / "splits_final.json").read_text())
    assert sorted(name for split in splits for name in split["val"]) == ["case_00000", "case_00001", "case_00002"]
    assert len(splits) == 3


def test_cases_moved_to_fill_a_fold_are_recorded(tmp_path, settings):
    make_tree(tmp_path / "kits", training=(0, 5))
    record = json.loads((convert(settings(folds=2)).dataset / "conversion.json").read_text())
    splits = json.loads((convert(settings(folds=2)).dataset / "splits_final.json").read_text())
    assert sorted(len(split["val"]) for split in splits) == [1, 1]
    for name, (home, now) in record["moved_to_fill_folds"].items():
        assert name in splits[now]["val"]
        assert home != now


def test_splits_among_the_preprocessed_data_that_differ_are_found(tmp_path, settings):
    made = convert(settings())
    old = tmp_path / "preprocessed" / made.dataset.name / "splits_final.json"
    assert stale_splits(made.dataset, tmp_path / "preprocessed") is None
    old.parent.mkdir(parents=True)
    old.write_text((made.dataset / "splits_final.json").read_text())
    assert stale_splits(made.dataset, tmp_path / "preprocessed") is None
    convert(settings(folds=2))
    assert stale_splits(made.dataset, tmp_path / "preprocessed") == old


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "move"}, r"--mode move: unknown\. Choose one of compact, copy, hardlink, symlink\."),
        ({"label_mode": "hecs"}, r"--labels hecs: unknown\. Choose one of classes, regions\."),
        ({"folds": 1}, "--folds 1: cross-validation needs at least 2"),
        ({"dataset_id": 1000}, r"--dataset-id 1000: nnU-Net's numbers are 1 to 999"),
        ({"name": "KiTS__2023"}, "--name 'KiTS__2023': only letters, digits"),
        ({"name": "a/b"}, "--name 'a/b': only letters, digits"),
        ({"aggregation": "MAJ"}, "KiTS23 has no aggregation 'MAJ'"),
    ],
)
def test_an_option_that_is_not_allowed_is_refused(settings, options, message):
    with pytest.raises(ConversionError, match=message):
        settings(**options)


def test_no_worker_is_too_few(tmp_path):
    with pytest.raises(ConversionError, match="-np 0: at least one worker is needed"):
        Settings(RELEASES["23"], tmp_path, tmp_path, workers=0)
