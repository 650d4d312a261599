import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from nnunet_kits.cli.main import main, parser
from nnunet_kits.errors import KitsError
from nnunet_kits.images import read_volume
from nnunet_kits.labels import Label
from nnunet_kits.phantom import case_numbers, make_phantom, write_tree
from nnunet_kits.phantom.layout import annotator_maps, year_labels
from nnunet_kits.releases import RELEASES

FOLDER = {"19": "data", "21": "kits21/data", "23": "dataset"}
CASE_WITH_CYST = 0


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    root = tmp_path_factory.mktemp("trees")
    for year in FOLDER:
        write_tree(root / year, year, cases=1, test_cases=1, size="tiny", test_labels=root / f"labels{year}")
    return root


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_kits23_tree_is_laid_out_as_the_challenge_ships_it(trees):
    assert files(trees / "23") == [
        "dataset/case_00000/imaging.nii.gz",
        "dataset/case_00000/segmentation.nii.gz",
        "dataset/case_00589/imaging.nii.gz",
        "phantom.json",
    ]
    assert files(trees / "labels23") == ["case_00589.nii.gz"]


def test_kits21_tree_has_three_aggregations_per_case(trees):
    assert files(trees / "21") == [
        "kits21/data/case_00000/aggregated_AND_seg.nii.gz",
        "kits21/data/case_00000/aggregated_MAJ_seg.nii.gz",
        "kits21/data/case_00000/aggregated_OR_seg.nii.gz",
        "kits21/data/case_00000/imaging.nii.gz",
        "kits21/data/case_00300/imaging.nii.gz",
        "phantom.json",
    ]


def test_kits19_tree_is_laid_out_as_the_challenge_ships_it(trees):
    assert files(trees / "19") == [
        "data/case_00000/imaging.nii.gz",
        "data/case_00000/segmentation.nii.gz",
        "data/case_00210/imaging.nii.gz",
        "phantom.json",
    ]


def test_files_are_float64_hu_and_uint8_labels_on_one_ipl_grid(trees):
    image = nib.load(trees / "23/dataset/case_00000/imaging.nii.gz")
    label = nib.load(trees / "23/dataset/case_00000/segmentation.nii.gz")
    phantom = make_phantom(0, size="tiny")
    assert image.get_data_dtype() == np.float64
    assert label.get_data_dtype() == np.uint8
    assert nib.aff2axcodes(image.affine) == nib.aff2axcodes(label.affine) == ("I", "P", "L")
    assert image.header.get_zooms() == pytest.approx(phantom.spacing_zyx_mm)
    assert np.allclose(image.affine, phantom.affine, atol=1e-6)
    assert np.array_equal(np.asanyarray(image.dataobj), phantom.image)
    assert np.array_equal(np.asanyarray(label.dataobj), phantom.label)


def test_a_case_shows_the_same_anatomy_in_every_year(trees):
    contents = {(trees / y / f / "case_00000/imaging.nii.gz").read_bytes() for y, f in FOLDER.items()}
    assert len(contents) == 1
    majority = trees / "21/kits21/data/case_00000/aggregated_MAJ_seg.nii.gz"
    assert majority.read_bytes() == (trees / "23/dataset/case_00000/segmentation.nii.gz").read_bytes()


def test_kits19_labels_cysts_as_kidney(trees):
    old = read_volume(trees / "19/data/case_00000/segmentation.nii.gz").array
    new = read_volume(trees / "23/dataset/case_00000/segmentation.nii.gz").array
    assert (new == Label.CYST).any()
    assert np.unique(old).tolist() == [0, 1, 2]
    assert np.array_equal(old == Label.KIDNEY, (new == Label.KIDNEY) | (new == Label.CYST))
    assert year_labels(np.array([0, 1, 2, 3], np.uint8), RELEASES["19"]).tolist() == [0, 1, 2, 1]


def test_what_all_annotators_label_lies_in_the_majority_and_that_in_what_any_labels(trees):
    folder = trees / "21/kits21/data/case_00000"
    every, most, anyone = (read_volume(folder / f"aggregated_{k}_seg.nii.gz").array for k in ("AND", "MAJ", "OR"))
    assert np.array_equal(every[every > 0], most[every > 0])
    assert (anyone[most > 0] > 0).all()
    for value in (Label.KIDNEY, Label.TUMOR, Label.CYST):
        assert 0 < (every == value).sum() < (most == value).sum()
    assert (anyone[most == Label.TUMOR] == Label.TUMOR).all()
    assert (anyone > 0).sum() > (most > 0).sum() > (every > 0).sum() > 0


def test_annotators_differ_by_a_pixel_within_the_slice():
    label = np.zeros((3, 5, 5), np.uint8)
    label[1, 1:4, 1:4] = Label.TUMOR
    maps = annotator_maps(label)
    assert [int((m > 0).sum()) for m in maps.values()] == [9, 1, 21]
    assert list(maps) == ["MAJ", "AND", "OR"]
    assert not any(m[[0, 2]].any() for m in maps.values())


def test_kits23_numbers_skip_300_to_399():
    training, test = case_numbers("23", 302, 2)
    assert training[298:] == [298, 299, 400, 401]
    assert test == [589, 590]
    assert case_numbers("19", 1, 1) == ([0], [210])
    assert case_numbers("21", 300, 1)[0][-1] == 299


def test_kept_test_labels_belong_to_the_test_images(trees):
    label = read_volume(trees / "labels23/case_00589.nii.gz").array
    phantom = make_phantom(589, size="tiny")
    assert np.array_equal(label, phantom.label)
    assert 3 not in read_volume(trees / "labels19/case_00210.nii.gz").array


def test_a_second_run_makes_only_what_is_missing(tmp_path, caplog):
    write_tree(tmp_path / "t", "23", cases=2, size="tiny")
    lost = tmp_path / "t/dataset/case_00001/segmentation.nii.gz"
    kept = tmp_path / "t/dataset/case_00001/imaging.nii.gz"
    content, kept_at = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    (lost.parent / f".segmentation.nii.gz.{killed.pid}.part").write_bytes(b"half")
    caplog.set_level("INFO", "nnunet_kits")
    caplog.clear()
    folders = write_tree(tmp_path / "t", "23", cases=3, size="tiny")
    assert caplog.messages == ["case_00000 kept", "case_00001 written", "case_00002 written"]
    assert [f.name for f in folders] == ["case_00000", "case_00001", "case_00002"]
    assert lost.read_bytes() == content
    assert kept.stat().st_mtime_ns == kept_at
    assert files(lost.parent) == ["imaging.nii.gz", "segmentation.nii.gz"]


def test_two_processes_write_the_same_bytes_as_one(trees, tmp_path):
    write_tree(tmp_path / "t", "23", cases=1, test_cases=1, size="tiny", jobs=2)
    for name in ("case_00000/imaging.nii.gz", "case_00000/segmentation.nii.gz", "case_00589/imaging.nii.gz"):
        assert (tmp_path / "t/dataset" / name).read_bytes() == (trees / "23/dataset" / name).read_bytes()


def test_phantoms_of_other_parameters_are_refused(trees):
    with pytest.raises(KitsError, match=r"holds phantoms of other parameters: seed 0 \(asked for: 5\)"):
        write_tree(trees / "23", "23", cases=1, seed=5, size="tiny")
    with pytest.raises(KitsError, match=r"year 23 \(asked for: 19\)"):
        write_tree(trees / "23", "19", cases=1, size="tiny")


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(KitsError, match=r"is not empty and holds no phantom.json. Choose a new or empty folder."):
        write_tree(tmp_path, "23", cases=1, size="tiny")
    assert files(tmp_path) == ["thesis.txt"]


def test_a_damaged_record_is_refused(tmp_path):
    (tmp_path / "phantom.json").write_text("{")
    with pytest.raises(KitsError, match=r"phantom.json: not a record of phantoms"):
        write_tree(tmp_path, "23", cases=1, size="tiny")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"year": "20"}, f"There is no KiTS release of year '20'. Known: {', '.join(RELEASES)}."),
        ({"year": "19", "cases": 211}, "211 training cases of KiTS19 were asked for, but its numbers allow 1 to 210"),
        ({"year": "23", "cases": 0}, "0 training cases of KiTS23"),
        ({"year": "23", "test_cases": 111}, "111 test cases of KiTS23 .* allow 0 to 110"),
        ({"year": "23", "jobs": 0}, "jobs is 0, but at least one process must work"),
    ],
)
def test_impossible_wishes_are_refused_before_anything_is_written(tmp_path, arguments, text):
    with pytest.raises(KitsError, match=text):
        write_tree(tmp_path / "t", size="tiny", **arguments)
    assert not (tmp_path / "t").exists()


def test_the_option_that_a_dead_worker_asks_for_is_known_to_the_verb_as_to_the_others():
    assert parser().parse_args(["phantom", "out", "-np", "3"]).jobs == 3
    assert parser().parse_args(["phantom", "out", "--jobs", "3"]).jobs == 3


def test_the_verb_writes_a_tree_and_names_the_next_command(tmp_path, capsys):
    out = tmp_path / "t"
    assert main(["phantom", str(out), "--year", "19", "--cases", "1", "--size", "tiny", "--seed", "3"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "case_00000 written",
        "KiTS19 does not label cysts: those on these kidneys are labelled as kidney.",
        f"next: nnunet_kits convert --year 19 {out / 'data'}",
    ]
    assert json.loads((out / "phantom.json").read_text())["seed"] == 3
    assert main(["phantom", str(out), "--year", "23", "--cases", "1", "--size", "tiny"]) == 2
    assert "holds phantoms of other parameters" in capsys.readouterr().err
