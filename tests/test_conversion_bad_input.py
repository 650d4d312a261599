"""Each bad input ends with exit code 2 and one line that names the case, and leaves nothing half-written."""

import errno
import os
import re

import nibabel as nib
import numpy as np
import pytest
from kits_trees import IPL, case_folder, image_of, labels_of, make_tree, save

from nnunet_kits.cli.main import main


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    return make_tree(tmp_path / "kits")


def image(tree):
    return case_folder(tree, 1) / "imaging.nii.gz"


def label(tree):
    return case_folder(tree, 1) / "segmentation.nii.gz"


def missing_image(tree):
    image(tree).unlink()


def missing_label(tree):
    label(tree).unlink()


def truncated_image(tree):
    image(tree).write_bytes(image(tree).read_bytes()[:-300])


def truncated_label(tree):
    label(tree).write_bytes(label(tree).read_bytes()[:-12])


def flipped_byte(tree):
    content = bytearray(image(tree).read_bytes())
    content[-6] ^= 0x01  # in the CRC
    image(tree).write_bytes(content)


def other_shape(tree):
    save(label(tree), labels_of(1, "23")[:5])


def other_affine(tree):
    save(label(tree), labels_of(1, "23"), IPL @ np.diag([1, 1, 1.01, 1]))


def unknown_label(tree):
    labels = labels_of(1, "23")
    labels[0, 0, :5] = 7
    save(label(tree), labels)


def fractional_label(tree):
    save(label(tree), labels_of(1, "23") * np.float32(0.5))


def nan_in_image(tree):
    array = image_of(1)
    array[3, 4, 5] = np.nan
    save(image(tree), array)


def infinity_in_image(tree):
    array = image_of(1)
    array[3, 4, 5] = np.inf
    save(image(tree), array)


def four_dimensions(tree):
    save(image(tree), image_of(1)[..., None])


def web_page(tree):
    image(tree).write_text("<html>404</html>")


BAD = {
    missing_image: "case_00001/imaging.nii.gz is missing. The labels come with the repository",
    missing_label: "case_00001/segmentation.nii.gz is missing, but KiTS23 labels this case. Get it again.",
    truncated_image: "imaging.nii.gz: the gzip file is truncated. Download it again",
    truncated_label: "segmentation.nii.gz: the gzip file is truncated",
    flipped_byte: "imaging.nii.gz: the gzip file is damaged",
    other_shape: "the image is (6, 10, 12) but the label map is (5, 10, 12) voxels",
    other_affine: "the affines of image and label map differ by up to 0.09625 mm",
    unknown_label: "the label map holds 7 (5 voxels), but KiTS23 knows only 0 background, 1 kidney, 2 tumor, 3 cyst",
    fractional_label: "the label map holds values that are no integers of 0 to 255",
    nan_in_image: "imaging.nii.gz: 1 voxels are NaN or infinite",
    infinity_in_image: "imaging.nii.gz: 1 voxels are NaN or infinite",
    four_dimensions: "the image has 4 dimensions (6, 10, 12, 1)",
    web_page: "the gzip file is damaged (Not a gzipped file",
}


def written(raw) -> set[str]:
    return {str(p.relative_to(raw)) for p in raw.rglob("*") if p.is_file()}


def error_line(capsys) -> str:
    lines = capsys.readouterr().err.splitlines()
    lines = [line for line in lines if not re.fullmatch(r"\d+ of \d+: case_\d{5}", line)]  # how far it had come
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("damage", BAD, ids=lambda f: f.__name__)
@pytest.mark.parametrize("mode", ["compact", "copy", "symlink"])
def test_a_bad_case_is_named_in_one_line_and_leaves_nothing(tree, tmp_path, capsys, damage, mode):
    damage(tree)
    assert main(["convert", "--year", "23", str(tree), "--mode", mode, "-np", "1"]) == 2
    line = error_line(capsys)
    assert line.startswith("nnunet_kits: error: case_00001: ")
    assert BAD[damage] in line
    left = written(tmp_path / "raw")
    assert not [name for name in left if "00001" in name or name.endswith((".part", "staging"))]
    assert not [name for name in left if name.endswith(("dataset.json", "conversion.json", "splits_final.json"))]


@pytest.mark.parametrize("damage", BAD, ids=lambda f: f.__name__)
def test_skip_bad_converts_the_rest_and_lists_the_bad_case_at_the_end(tree, tmp_path, capsys, damage):
    damage(tree)
    assert main(["convert", "--year", "23", str(tree), "--skip-bad", "-np", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "2 training and 0 test cases" in out[0]
    skipped = [line for line in out if line.startswith("skipped: ")]
    assert len(skipped) == 1
    assert skipped[0].startswith("skipped: case_00001: ")
    assert BAD[damage] in skipped[0]
    assert not [name for name in written(tmp_path / "raw") if "00001" in name]


@pytest.mark.parametrize("damage", [truncated_image, unknown_label])
def test_a_case_that_went_bad_keeps_what_was_made_of_it(tree, tmp_path, capsys, damage):
    assert main(["convert", "--year", "23", str(tree), "-np", "1"]) == 0
    files = {name: (tmp_path / "raw" / name).read_bytes() for name in written(tmp_path / "raw")}
    damage(tree)
    assert main(["convert", "--year", "23", str(tree), "-np", "1"]) == 2
    assert {name: (tmp_path / "raw" / name).read_bytes() for name in written(tmp_path / "raw")} == files


def test_a_cyst_in_kits19_hints_at_the_year(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    tree = make_tree(tmp_path / "kits", "19")
    save(case_folder(tree, 1, "19") / "segmentation.nii.gz", labels_of(2, "23"))
    assert main(["convert", "--year", "19", str(tree)]) == 2
    line = error_line(capsys)
    assert (
        "case_00001: the label map holds 3 (2 voxels), but KiTS19 knows only 0 background, 1 kidney, 2 tumor." in line
    )
    assert line.endswith("A cyst label means KiTS21 or KiTS23: wrong --year?")


def test_several_missing_files_are_counted(tree, capsys):
    for number in (0, 1, 2):
        (case_folder(tree, number) / "imaging.nii.gz").unlink()
    assert main(["convert", "--year", "23", str(tree)]) == 2
    assert error_line(capsys).endswith("2 more cases lack a file.")


def test_skipping_every_case_leaves_no_dataset_json(tree, tmp_path, capsys):
    for number in (0, 1, 2):
        (case_folder(tree, number) / "imaging.nii.gz").unlink()
    assert main(["convert", "--year", "23", str(tree), "--skip-bad"]) == 2
    assert "no training case was converted. The first of 3 skipped: case_00000: " in error_line(capsys)
    assert not written(tmp_path / "raw")


def test_the_wrong_year_and_an_empty_folder_write_nothing(tree, tmp_path, capsys):
    assert main(["convert", "--year", "21", str(tree)]) == 2
    assert "segmentation.nii.gz belongs to KiTS19 or KiTS23" in error_line(capsys)
    assert main(["convert", "--year", "23", str(case_folder(tree, 1))]) == 2
    assert "no case_00000, case_00001, ... folder here" in error_line(capsys)
    assert not (tmp_path / "raw").exists()


def test_a_dataset_number_under_another_name_is_taken(tree, tmp_path, capsys):
    (tmp_path / "raw" / "Dataset220_Other").mkdir(parents=True)
    assert main(["convert", "--year", "23", str(tree)]) == 2
    assert "The dataset number 220 is taken by" in error_line(capsys)
    assert os.listdir(tmp_path / "raw") == ["Dataset220_Other"]


def test_a_dataset_that_we_did_not_make_is_left_alone(tree, tmp_path, capsys):
    other = tmp_path / "raw" / "Dataset220_KiTS2023"
    other.mkdir(parents=True)
    (other / "dataset.json").write_text("{}")
    assert main(["convert", "--year", "23", str(tree)]) == 2
    assert "was not made by this converter, so it is left alone" in error_line(capsys)
    assert written(other) == {"dataset.json"}


def test_an_empty_dataset_folder_is_used(tree, tmp_path):
    (tmp_path / "raw" / "Dataset220_KiTS2023").mkdir(parents=True)
    assert main(["convert", "--year", "23", str(tree)]) == 0


def test_editions_are_never_mixed(tree, tmp_path, capsys):
    assert main(["convert", "--year", "23", str(tree)]) == 0
    kits19 = make_tree(tmp_path / "kits19", "19", training=(5, 6))
    capsys.readouterr()
    assert main(["convert", "--year", "19", str(kits19), "-d", "220", "--name", "KiTS2023"]) == 2
    assert "holds case_00000 of KiTS23, which is never mixed with KiTS19" in error_line(capsys)


def test_aggregations_are_never_mixed(tree, tmp_path, capsys):
    first = make_tree(tmp_path / "first", "21", training=(1, 2))
    second = make_tree(tmp_path / "second", "21", training=(2, 3))
    assert main(["convert", "--year", "21", str(first)]) == 0
    capsys.readouterr()
    assert main(["convert", "--year", "21", str(second), "--aggregation", "OR"]) == 2
    assert "holds case_00001 of KiTS21 (MAJ), which is never mixed with KiTS21 (OR)" in error_line(capsys)


def test_a_skipped_case_is_not_kept_from_another_aggregation(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    tree = make_tree(tmp_path / "kits", "21")
    assert main(["convert", "--year", "21", str(tree)]) == 0
    (case_folder(tree, 1, "21") / "aggregated_OR_seg.nii.gz").write_bytes(b"x")
    assert main(["convert", "--year", "21", str(tree), "--aggregation", "OR", "--skip-bad"]) == 0
    assert not [name for name in written(tmp_path / "raw") if "00001" in name]


def test_a_target_that_is_a_file_is_refused(tree, tmp_path, capsys):
    (tmp_path / "raw").write_text("")
    assert main(["convert", "--year", "23", str(tree)]) == 2
    assert "Dataset220_KiTS2023 cannot be made (Not a directory)" in error_line(capsys)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_full_or_read_only_disk_is_named_with_what_to_do(tree, tmp_path, capsys, monkeypatch, number):
    def fail(self, *arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(nib.Nifti1Image, "to_stream", fail)
    assert main(["convert", "--year", "23", str(tree), "-np", "1"]) == 2
    line = error_line(capsys)
    assert f"case_00000: cannot write into {tmp_path}/raw/Dataset220_KiTS2023 ({os.strerror(number)}: " in line
    assert "free some space" in line or "set nnUNet_raw" in line
    assert not written(tmp_path / "raw")


def test_a_disk_that_is_full_between_image_and_label_leaves_neither(tree, tmp_path, capsys, monkeypatch):
    write, calls = nib.Nifti1Image.to_stream, []

    def fail(self, *arguments):
        calls.append(1)
        if len(calls) == 4:  # the second file of the second case
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, *arguments)

    monkeypatch.setattr(nib.Nifti1Image, "to_stream", fail)
    assert main(["convert", "--year", "23", str(tree), "-np", "1"]) == 2
    assert "case_00001: cannot write into" in error_line(capsys)
    dataset = "Dataset220_KiTS2023"
    assert written(tmp_path / "raw") == {
        f"{dataset}/.conversion/case_00000.json",
        f"{dataset}/imagesTr/case_00000_0000.nii.gz",
        f"{dataset}/labelsTr/case_00000.nii.gz",
    }


def test_a_disk_that_is_full_at_the_end_keeps_the_cases(tree, tmp_path, capsys, monkeypatch):
    def fail(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nnunet_kits.conversion.dataset_folder.write_json", fail)
    assert main(["convert", "--year", "23", str(tree)]) == 2
    assert "cannot be written (No space left on device). The finished cases are kept" in error_line(capsys)


def test_hard_links_across_file_systems_are_refused_with_the_other_modes(tree, capsys, monkeypatch):
    def fail(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", fail)
    assert main(["convert", "--year", "23", str(tree), "--mode", "hardlink", "-np", "1"]) == 2
    line = error_line(capsys)
    assert "case_00000: " in line
    assert "(Invalid cross-device link): both must lie in one file system" in line
    assert line.endswith("Use --mode compact, copy or symlink.")


def test_too_little_memory_is_named_with_what_to_do(tree, capsys, monkeypatch):
    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr("nnunet_kits.conversion.case_conversion.write_volume", fail)
    assert main(["convert", "--year", "23", str(tree), "-np", "1"]) == 2
    assert "case_00000: not enough memory. Use fewer workers (-np), or free some." in error_line(capsys)


def test_a_source_that_vanishes_while_converting_is_named(tree, capsys, monkeypatch):
    monkeypatch.setattr("nnunet_kits.conversion.convert.missing_file", lambda release, case: None)
    image(tree).unlink()
    assert main(["convert", "--year", "23", str(tree), "-np", "1"]) == 2
    assert "case_00001/imaging.nii.gz cannot be read (No such file or directory)" in error_line(capsys)
