"""nnU-Net's JSON files are checked before anything is done by them: the file, the key and what is allowed."""

import json

import pytest
from small_plans import CLASSES, REGIONS, cascade_plans, dataset_json

from nnunet_kits.errors import PlanError
from nnunet_kits.json_files import read_json, read_object
from nnunet_kits.nnunet_files import read_dataset_json, read_fingerprint, read_plans


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a JSON file"),
        (b'{"a": ', "not a JSON file"),
        (b"\xff\xfe", "not a JSON file"),
        (b"[" * 100_000, "nested too deep"),
        (b"[1]", "must be a JSON object, but is a list"),
        (b"null", "must be a JSON object, but is null"),
        (b"7", "must be a JSON object, but is a number"),
    ],
)
def test_what_is_no_json_object_is_one_line_of_the_callers_type_with_its_advice(tmp_path, content, said):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(PlanError, match=rf"x\.json: .*{said}.* Plan again\.$"):
        read_object(path, PlanError, "Plan again.")


def test_a_file_that_is_not_there_and_a_folder_in_its_place_are_named(tmp_path):
    with pytest.raises(PlanError, match=r"x\.json: no such file\."):
        read_json(tmp_path / "x.json", PlanError)
    with pytest.raises(PlanError, match=r"cannot be read \(Is a directory\)"):
        read_json(tmp_path, PlanError)


@pytest.mark.parametrize("labels", [CLASSES, REGIONS])
def test_a_dataset_json_and_plans_are_given_as_they_stand_there(tmp_path, labels):
    described, plans = dataset_json(labels), cascade_plans()
    assert read_dataset_json(written(tmp_path / "dataset.json", described)) == described
    assert read_plans(written(tmp_path / "P.json", plans), complete=True) == plans


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("labels", None, r"labels is None"),
        ("labels", {"kidney": "1"}, r"labels\.kidney"),
        ("labels", {"kidney": [[1]]}, r"labels\.kidney"),
        ("file_ending", "nii", "file_ending is 'nii'"),
        ("file_ending", "./../x", "file_ending is './../x'"),
        ("channel_names", {}, "channel_names is {}"),
        ("regions_class_order", ["1"], "regions_class_order"),
    ],
)
def test_a_value_of_dataset_json_that_nnunet_cannot_use_is_named(tmp_path, key, value, said):
    path = written(tmp_path / "dataset.json", {**dataset_json(CLASSES), key: value})
    with pytest.raises(PlanError, match=rf"dataset\.json: {said}"):
        read_dataset_json(path, PlanError)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("spacing", [3.0, float("nan"), 2.0], r"configuration 3d_fullres: spacing\.1 is nan"),
        ("spacing", [3.0, -2.0, 2.0], r"configuration 3d_fullres: spacing\.1 is -2\.0"),
        ("patch_size", [16, 0, 24], r"configuration 3d_fullres: patch_size\.1 is 0"),
        ("batch_size", "2", "configuration 3d_fullres: batch_size is '2'"),
        ("data_identifier", "../x", "configuration 3d_fullres: data_identifier is '../x'"),
        (
            "architecture",
            {"arch_kwargs": {}},
            r"configuration 3d_fullres: architecture\.network_class_name: is missing",
        ),
        ("inherits_from", "3d_fullres", "configuration 3d_fullres inherits from '3d_fullres'"),
        ("inherits_from", ["x"], r"configuration 3d_fullres inherits from \['x'\]"),
    ],
)
def test_a_value_of_a_configuration_that_cannot_be_used_is_named(tmp_path, key, value, said):
    plans = cascade_plans()
    plans["configurations"]["3d_fullres"][key] = value
    with pytest.raises(PlanError, match=rf"P\.json: {said}"):
        read_plans(written(tmp_path / "P.json", plans), PlanError)


def test_a_key_of_dataset_json_that_a_step_needs_is_missed_by_name(tmp_path):
    content = {key: value for key, value in dataset_json().items() if key != "file_ending"}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert read_dataset_json(tmp_path / "dataset.json") == content
    with pytest.raises(PlanError, match=r"dataset\.json: file_ending is missing\. Copy it again\."):
        read_dataset_json(tmp_path / "dataset.json", PlanError, "Copy it again.", ("file_ending",))


def test_axes_that_are_no_order_and_what_is_missing_are_named(tmp_path):
    plans = {**cascade_plans(), "transpose_forward": [0, 1, 1]}
    with pytest.raises(PlanError, match=r"transpose_forward is \[0, 1, 1\], but must be an order of 0, 1, 2"):
        read_plans(written(tmp_path / "P.json", plans), PlanError)
    plans = cascade_plans()
    del plans["configurations"]["3d_lowres"]["spacing"]
    read_plans(written(tmp_path / "P.json", plans), PlanError)
    with pytest.raises(PlanError, match="configuration 3d_lowres: spacing is missing"):
        read_plans(written(tmp_path / "P.json", plans), PlanError, complete=True)
    plans = {key: value for key, value in cascade_plans().items() if key != "label_manager"}
    with pytest.raises(PlanError, match=r"P\.json: label_manager is missing"):
        read_plans(written(tmp_path / "P.json", plans), PlanError, complete=True)


def test_a_fingerprint_without_a_case_or_with_a_spacing_of_two_axes_is_refused(tmp_path):
    whole = {
        "spacings": [[3.0, 1.0, 1.0]],
        "shapes_after_crop": [[10, 20, 30]],
        "foreground_intensity_properties_per_channel": {"0": {"mean": 1.0}},
        "median_relative_size_after_cropping": 1.0,
    }
    path = tmp_path / "dataset_fingerprint.json"
    assert read_fingerprint(written(path, whole)) == whole
    for change, said in (({"spacings": []}, "spacings is"), ({"spacings": [[1.0, 1.0]]}, r"spacings\.0 is")):
        with pytest.raises(PlanError, match=said):
            read_fingerprint(written(path, {**whole, **change}), PlanError)
