"""Bad datasets, rules, masks and label maps: one line that says what is wrong, and nothing half-written."""

import json
import os

import nibabel as nib
import numpy as np
import pytest
from kits_trees import IPL, image_of, labels_of
from raw_datasets import NAMES, dataset_json, save, voxels, write_dataset, write_rule, write_validation

from nnunet_kits.cli.main import main

REGION = {"region": {"margin_voxels": [1, 1, 2]}}


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    return tmp_path / "raw"


@pytest.fixture
def made(raw):
    return raw / "Dataset221_KiTS2023Mine"


@pytest.fixture
def run(raw, tmp_path, capsys):
    """Derive Dataset221 by a rule; the exit code and the one line of an error."""

    def derived(*words, target="221", name="mine.json", **rule):
        file = write_rule(tmp_path / name, **rule)
        code = main(["derive", "-d", "220", "-o", target, "--rule", str(file), "-np", "1", "--quiet", *map(str, words)])
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nnunet_kits: error: ")]
        assert len(lines) == (code != 0)
        return code, lines[0].removeprefix("nnunet_kits: error: ") if lines else ""

    return derived


@pytest.fixture
def restore(tmp_path, capsys):
    def restored(predictions, *words, dataset="221"):
        code = main(["restore", str(predictions), str(tmp_path / "back"), "-d", dataset, "--quiet", *words])
        return code, capsys.readouterr().err

    return restored


def nothing_half_written(made):
    """No file in the making, every image has its label map and record, and no dataset.json calls it finished."""
    there = {path.name for path in made.rglob("*") if path.is_file()}
    assert not [name for name in there if name.endswith(".part")]
    assert not list((made / ".derivation").glob("*.staging"))
    cases = {path.stem for path in (made / ".derivation").glob("*.json")}
    assert {path.name for path in (made / "imagesTr").iterdir()} == {f"{case}_0000.nii.gz" for case in cases}
    assert {path.name for path in (made / "labelsTr").iterdir()} == {f"{case}.nii.gz" for case in cases}
    assert not (made / "dataset.json").exists()
    return sorted(cases)


def test_a_source_that_changed_is_refused_and_derived_again_where_that_is_asked_for(raw, made, run):
    source = write_dataset(raw)
    assert run("--masks", "reference", preparation=REGION)[0] == 0
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    save(source / "imagesTr" / "case_00001_0000.nii.gz", image_of(9).astype(np.int16))
    code, line = run("--masks", "reference", preparation=REGION)
    assert code == 2
    assert line.startswith("case_00001: its image ")
    assert line.endswith(
        "has changed since the case was derived. Pass --overwrite to derive such cases again, or choose another number "
        "with -o."
    )
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before
    times = {case: (made / f"imagesTr/{case}_0000.nii.gz").stat().st_mtime_ns for case in NAMES}
    assert run("--masks", "reference", "--overwrite", preparation=REGION)[0] == 0
    again = {case: (made / f"imagesTr/{case}_0000.nii.gz").stat().st_mtime_ns for case in NAMES}
    assert [case for case in NAMES if again[case] != times[case]] == ["case_00001"]
    assert np.array_equal(voxels(made / "imagesTr" / "case_00001_0000.nii.gz"), image_of(9)[0:6, 1:9, 0:11])


def test_a_mask_that_changed_is_refused(raw, run, tmp_path):
    write_dataset(raw)
    model = write_validation(tmp_path / "results", "Dataset220_KiTS2023", {0: NAMES})
    assert run("--masks", model, preparation=REGION)[0] == 0
    os.utime(model / "fold_0" / "validation" / "case_00002.nii.gz", ns=(1, 1))
    code, line = run("--masks", model, preparation=REGION)
    assert (code, line.split(" /")[0]) == (2, "case_00002: its mask")


def test_a_case_that_is_gone_from_the_source_is_refused_and_dropped_where_that_is_asked_for(raw, made, run):
    source = write_dataset(raw)
    run("--masks", "reference", preparation=REGION)
    for path in ("imagesTr/case_00003_0000.nii.gz", "labelsTr/case_00003.nii.gz"):
        (source / path).unlink()
    code, line = run("--masks", "reference", preparation=REGION)
    assert code == 2
    assert "holds case_00003, which its source no longer has" in line
    assert run("--masks", "reference", "--overwrite", preparation=REGION)[0] == 0
    assert sorted(path.name for path in (made / "labelsTr").iterdir()) == [f"{case}.nii.gz" for case in NAMES[:3]]
    assert json.loads((made / "splits_final.json").read_text())[1]["val"] == ["case_00002"]


def test_a_coarse_model_that_found_nothing_in_a_case_is_named_and_the_case_may_be_left_out(raw, made, run, tmp_path):
    write_dataset(raw)
    model = write_validation(tmp_path / "results", "Dataset220_KiTS2023", {0: NAMES})
    empty = save(model / "fold_0" / "validation" / "case_00001.nii.gz", np.zeros((6, 10, 12), np.uint8))
    code, line = run("--masks", model, preparation=REGION)
    assert code == 2
    assert line == (
        f"case_00001: the mask {empty} is empty: nothing was found to crop to or to keep. Leave such cases out with "
        "--skip-bad, take them whole with --whole-volume-if-empty, or name other masks."
    )
    assert nothing_half_written(made) == ["case_00000"]
    assert run("--masks", model, "--skip-bad", preparation=REGION)[0] == 0
    content = json.loads((made / "derivation.json").read_text())
    assert list(content["cases"]) == ["case_00000", "case_00002", "case_00003"]
    assert list(content["skipped"]) == ["case_00001"]
    assert json.loads((made / "splits_final.json").read_text())[0]["val"] == ["case_00000"]


@pytest.mark.parametrize("preparation", [REGION, {"mask": True}])
def test_a_case_in_which_nothing_was_found_may_be_taken_whole(raw, made, run, tmp_path, preparation):
    source = write_dataset(raw)
    model = write_validation(tmp_path / "results", "Dataset220_KiTS2023", {0: NAMES})
    save(model / "fold_0" / "validation" / "case_00001.nii.gz", np.zeros((6, 10, 12), np.uint8))
    assert run("--masks", model, "--whole-volume-if-empty", preparation=preparation)[0] == 0
    whole, scan = (nib.load(folder / "imagesTr" / "case_00001_0000.nii.gz") for folder in (made, source))
    np.testing.assert_array_equal(whole.get_fdata(), scan.get_fdata())
    np.testing.assert_allclose(whole.affine, scan.affine)
    other, scan = (nib.load(folder / "imagesTr" / "case_00000_0000.nii.gz").get_fdata() for folder in (made, source))
    assert other.shape != scan.shape or not np.array_equal(other, scan)
    code, line = run("--masks", model, preparation=preparation)
    assert code == 2
    assert "in another way than is asked for now" in line


def test_a_rule_that_needs_no_masks_takes_no_word_on_empty_ones(raw, run):
    write_dataset(raw)
    code, line = run("--whole-volume-if-empty", preparation={"size": [4, 8, 8]})
    assert (code, line) == (2, "rule mine needs no masks. Leave --whole-volume-if-empty out.")


def test_a_reference_without_kidney_is_named(raw, run):
    source = write_dataset(raw)
    save(source / "labelsTr" / "case_00000.nii.gz", np.zeros((6, 10, 12), np.uint8))
    code, line = run("--masks", "reference", preparation={"mask": True})
    assert (code, line.split(":")[:2]) == (2, ["case_00000", " its label map is empty"])


def test_a_case_without_out_of_fold_mask_is_refused_and_may_be_left_out(raw, made, run, tmp_path):
    write_dataset(raw)
    model = write_validation(tmp_path / "results", "Dataset220_KiTS2023", {0: NAMES[:2], "all": NAMES})
    code, line = run("--masks", model, preparation=REGION)
    assert code == 2
    assert line == (
        f"case_00002: no mask in {model}. Its folds are 0, all: train the others, or validate them with "
        "nnUNetv2_train ... --val. Or leave such cases out with --skip-bad. 1 more cases lack one."
    )
    assert not made.exists()
    assert run("--masks", model, "--skip-bad", preparation=REGION)[0] == 0
    assert sorted(json.loads((made / "derivation.json").read_text())["skipped"]) == NAMES[2:]


def test_a_model_trained_on_every_case_is_no_source_of_masks(raw, run, tmp_path):
    write_dataset(raw)
    model = write_validation(tmp_path / "results", "Dataset220_KiTS2023", {"all": NAMES})
    code, line = run("--masks", model, preparation=REGION)
    assert code == 2
    assert "none of its folds (all) holds predictions of validation cases that it was not trained on" in line


def test_two_masks_of_one_case_are_refused(raw, run, tmp_path):
    write_dataset(raw)
    models = [write_validation(tmp_path / "r", "Dataset220_KiTS2023", {0: NAMES}, model=f"{t}__P__2d") for t in "AB"]
    code, line = run("--masks", *models, preparation=REGION)
    assert code == 2
    assert line.startswith("case_00000: has two masks, ")


def test_a_mask_with_another_grid_is_refused(raw, made, run, tmp_path):
    write_dataset(raw)
    model = write_validation(tmp_path / "results", "Dataset220_KiTS2023", {0: NAMES}, shape=(6, 8, 12))
    code, line = run("--masks", model, preparation=REGION)
    assert code == 2
    assert line.startswith(f"case_00000: the mask {model}/fold_0/validation/case_00000.nii.gz does not lie on the grid")
    assert "(6, 10, 12) voxels, but on one of (6, 8, 12)." in line
    assert nothing_half_written(made) == []
    shifted = IPL.copy()
    shifted[0, 3] = 3
    write_validation(tmp_path / "results", "Dataset220_KiTS2023", {0: NAMES}, affine=shifted)
    assert run("--masks", model, preparation=REGION)[0] == 2


def test_a_mask_that_is_no_label_map_is_refused(raw, run, tmp_path):
    write_dataset(raw)
    for number, case in enumerate(NAMES):
        save(tmp_path / "masks" / f"{case}.nii.gz", image_of(number) + 0.5)
    code, line = run("--masks", tmp_path / "masks", preparation=REGION)
    assert code == 2
    assert "holds values that are no labels. Masks are label maps." in line


@pytest.mark.parametrize(
    ("words", "rule", "message"),
    [
        ((), {"preparation": REGION}, "rule mine crops to a mask or multiplies by one. Name a coarse model's folder"),
        (("--masks", "reference"), {}, "rule mine needs no masks. Leave --masks out."),
        (("--masks", "reference", "x"), {"preparation": REGION}, "either reference or folders, not both"),
        (("--masks", "nowhere"), {"preparation": REGION}, "nowhere: no such file or folder"),
        (("--name", "a__b"), {}, "--name 'a__b': only letters, digits, and single - or _"),
        ((), {"labels": {"liver": ["liver"]}}, "rule mine: Dataset220_KiTS2023 has no label 'liver'"),
    ],
)
def test_options_that_do_not_fit_the_rule_are_refused_before_anything_is_written(raw, made, run, words, rule, message):
    write_dataset(raw)
    code, line = run(*words, **rule)
    assert code == 2
    assert message in line
    assert not made.exists()


def test_the_same_folder_is_not_given_to_two_rules_or_two_datasets(raw, made, run, tmp_path):
    write_dataset(raw)
    run()
    code, line = run(preparation={"size": [6, 5, 6]})
    assert code == 2
    assert "holds case_00000 derived by mine in another way than is asked for now (mine)" in line
    code, line = run(name="other.json")
    assert code == 2
    assert line.startswith(f"The dataset number 221 is taken by {made}.")
    (raw / "Dataset223_KiTS2023Mine").mkdir()
    (raw / "Dataset223_KiTS2023Mine" / "notes.txt").write_text("mine")
    code, line = run(target="223")
    assert code == 2
    assert "exists and was not derived, so it is left alone" in line
    assert run(target="220") == (
        2,
        "-o 220: the new dataset needs a number of its own from 1 to 999, not the source's.",
    )
    assert run("--overwrite", preparation={"size": [6, 5, 6]})[0] == 0
    assert voxels(made / "imagesTr" / "case_00000_0000.nii.gz").shape == (6, 5, 6)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "dataset.json").unlink(), "dataset.json: no such file"),
        (lambda f: change(f, file_ending=".mha"), "file_ending is '.mha'. Only .nii.gz and .nii can be derived from"),
        (lambda f: change(f, channel_names={"0": "CT", "1": "PET"}), "only CTs of one channel"),
        (lambda f: change(f, overwrite_image_reader_writer="Tiff3DIO"), "its images are read with Tiff3DIO, which"),
        (lambda f: (f / "labelsTr/case_00001.nii.gz").unlink(), "holds case_00001 without its label map; every case"),
        (lambda f: (f / "imagesTr/case_00001_0000.nii.gz").unlink(), "holds case_00001 without its image; every case"),
        (lambda f: save(f / "imagesTs/case_00001_0000.nii.gz", image_of(1)), "case_00001 is both in imagesTr and in"),
        (lambda f: (f / "splits_final.json").write_text("[{}]"), "splits_final.json: is not nnU-Net's"),
        (lambda f: save(f / "labelsTr/case_00000.nii.gz", labels_of(0, "23") * 9), "holds 9 ("),
        (lambda f: save(f / "labelsTr/case_00000.nii.gz", labels_of(0, "23")[1:]), "case_00000: the image is (6, 10,"),
        (lambda f: save(f / "labelsTr/case_00000.nii.gz", image_of(0)), "holds values that are no integers of 0 to"),
        (lambda f: save(f / "imagesTr/case_00000_0000.nii.gz", np.full((6, 10, 12), np.nan)), "are NaN or infinite"),
        (lambda f: (f / "imagesTr/case_00000_0000.nii.gz").write_bytes(b"x" * 99), "case_00000: "),
    ],
)
def test_a_bad_source_is_refused_with_its_name(raw, made, run, spoil, message):
    spoil(write_dataset(raw))
    code, line = run("--masks", "reference", preparation=REGION)
    assert code == 2
    assert message in line
    assert not made.exists() or nothing_half_written(made) == []


def change(folder, **facts):
    (folder / "dataset.json").write_text(json.dumps({**dataset_json({"background": 0, "kidney": 1}), **facts}))


def test_what_is_not_named_or_not_there_is_said(raw, tmp_path, capsys, run):
    raw.mkdir()
    assert main(["derive", "--rule", "kidney_region"]) == 2
    assert "-d, -o: name the dataset, the new number and a rule (see --list)." in capsys.readouterr().err
    assert run()[1].startswith(f"{raw}: no Dataset220_* here.")
    write_dataset(raw)
    assert run("-np", "0")[1] == "-np 0: at least one worker is needed."
    code, line = run(name="my rule.json")
    assert (code, line.split(":")[0]) == (2, "my rule.json")
    assert line.endswith("Rename the file, or give a --name.")
    assert run("--name", "KiTS2023Mine", name="my rule.json")[0] == 0


def test_a_disk_that_fails_in_the_middle_of_a_case_leaves_the_others_whole(raw, made, run, monkeypatch):
    from nnunet_kits.derivation import case as derivation_case

    write_dataset(raw)
    write, calls = derivation_case.write_volume, []

    def fail(path, *arguments):
        calls.append(path)
        if len(calls) == 4:  # the label map of the second case, whose image is written
            raise OSError(28, "No space left on device")
        write(path, *arguments)

    monkeypatch.setattr(derivation_case, "write_volume", fail)
    code, line = run("--masks", "reference", preparation=REGION)
    assert code == 2
    assert "case_00001: cannot write into" in line
    assert "(No space left on device: free some space and run the same command again)" in line
    assert nothing_half_written(made) == ["case_00000"]
    monkeypatch.undo()


def test_label_maps_of_another_dataset_or_already_put_back_are_refused(raw, made, run, restore, tmp_path):
    source = write_dataset(raw)
    run("--masks", "reference", preparation=REGION)
    code, err = restore(source / "labelsTr")
    assert code == 2
    assert err.count("voxels, but the derived case (6, 8, 11), or they lie elsewhere. Is it of another dataset") == 4
    assert not list((tmp_path / "back").glob("*.nii.gz"))
    code, err = restore(made / "labelsTr", dataset="220")
    assert (code, "has no derivation.json that can be read, so it is no derived" in err) == (2, True)
    code, err = restore(made / "labelsTr", dataset="299")
    assert (code, "no Dataset299_* here" in err) == (2, True)


def test_a_case_that_is_unknown_fails_alone(raw, made, run, restore, tmp_path):
    write_dataset(raw)
    run("--masks", "reference", preparation=REGION)
    os.rename(made / "labelsTr" / "case_00000.nii.gz", made / "labelsTr" / "case_00099.nii.gz")
    save(
        made / "labelsTr" / "case_00001.nii.gz",
        image_of(1)[:, 1:9, 0:11],
        nib.load(made / "labelsTr" / "case_00002.nii.gz").affine,
    )
    code, err = restore(made / "labelsTr")
    assert code == 2
    assert "case_00099.nii.gz is no case of Dataset221_KiTS2023Mine." in err
    assert "case_00001.nii.gz holds values that are no labels" in err
    assert sorted(path.name for path in (tmp_path / "back").glob("*.nii.gz")) == [
        "case_00002.nii.gz",
        "case_00003.nii.gz",
    ]


def test_nothing_is_put_back_on_a_ct_that_has_another_grid_now(raw, made, run, restore):
    source = write_dataset(raw)
    run("--masks", "reference", preparation=REGION)
    save(source / "imagesTr" / "case_00001_0000.nii.gz", image_of(1)[1:].astype(np.int16))
    (source / "imagesTr" / "case_00002_0000.nii.gz").unlink()  # its record says enough
    code, err = restore(made / "labelsTr")
    assert code == 2
    assert err.count("error") == 1
    assert "has another grid than when the case was derived" in err


def test_label_maps_are_not_put_back_over_themselves_or_over_another_datasets(
    raw, made, run, restore, tmp_path, capsys
):
    write_dataset(raw)
    run("--masks", "reference", preparation=REGION)
    run("--masks", "reference", target="222", preparation=REGION)
    assert main(["restore", str(made / "labelsTr"), str(made / "labelsTr"), "-d", "221"]) == 2
    assert "is where the label maps are, which would be lost" in capsys.readouterr().err
    assert restore(made / "labelsTr")[0] == 0
    code, err = restore(raw / "Dataset222_KiTS2023Mine" / "labelsTr", dataset="222")
    assert code == 2
    assert (
        "the folder holds label maps put back from Dataset221_KiTS2023Mine. Give another folder, or --overwrite." in err
    )


def test_a_record_that_was_edited_is_refused(raw, made, run, restore):
    write_dataset(raw)
    run("--masks", "reference", preparation=REGION)
    content = json.loads((made / "derivation.json").read_text())
    content["cases"]["case_00001"]["placement"]["box"][0] = [0, 99]
    (made / "derivation.json").write_text(json.dumps(content))
    code, err = restore(made / "labelsTr")
    assert code == 2
    assert "derivation.json, case_00001: cannot be used" in err
    for spoilt in ({}, {"labels_back": [1]}, {"labels_back": {"1": 999}}):
        (made / "derivation.json").write_text(json.dumps(spoilt))
        code, err = restore(made / "labelsTr")
        assert (code, "derivation.json: labels_back cannot be used" in err) == (2, True)


def test_an_error_names_the_case_once(raw, run):
    source = write_dataset(raw)
    (source / "imagesTr" / "case_00002_0000.nii.gz").write_bytes(b"")
    code, line = run()
    assert code == 2
    assert line.startswith("case_00002: ")
    assert line.count("case_00002: ") == 1
