"""A dataset derived from another: its files are what nnU-Net's reader and scipy say, and results come back exactly."""

import json
import os
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kits_trees import IPL, image_of, labels_of
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from raw_datasets import NAMES, REGIONS, dataset_json, save, voxels, write_dataset, write_rule, write_validation
from scipy import ndimage
from scipy.spatial.transform import Rotation

from nnunet_kits.cli.main import main
from nnunet_kits.derivation.case import Case
from nnunet_kits.derivation.derive import default_workers, derive
from nnunet_kits.derivation.rule import load_rule
from nnunet_kits.derivation.settings import Settings
from nnunet_kits.preparation import Preparation, prepare

REGION = {"region": {"margin_voxels": [1, 1, 2]}}
READERS = {"NibabelIOWithReorient": NibabelIOWithReorient, None: SimpleITKIO}


@pytest.fixture
def raw(tmp_path, monkeypatch):
    folder = tmp_path / "raw"
    monkeypatch.setenv("nnUNet_raw", str(folder))
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    return folder


@pytest.fixture
def run(raw, tmp_path, capsys):
    """Derive Dataset221 by a rule with changes, then by the words that follow; what --json printed, and stderr."""

    def derived(*words, code=0, source="220", target="221", **rule):
        file = write_rule(tmp_path / "mine.json", **rule)
        command = ["derive", "-d", source, "-o", target, "--rule", str(file), "-np", "1", "--json", *map(str, words)]
        assert main(command) == code
        out, err = capsys.readouterr()
        return json.loads(out) if code == 0 else None, err

    return derived


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@st.composite
def sources(draw):
    """A CT and its label map in any orientation, with any tilt, and a preparation."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(*[st.integers(3, 9)] * 3))
    order, signs = draw(st.permutations([0, 1, 2])), draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    tilt, edges = draw(st.sampled_from([(0.0, 0.0, 0.0), (0.1, -0.2, 0.05)])), rng.choice([0.7, 1.3, 5.0], 3)
    affine = np.eye(4)
    affine[:3, :3] = (Rotation.from_euler("xyz", tilt).as_matrix() @ np.diag(signs * edges))[:, order]
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    image, labels = rng.integers(-1000, 2000, shape).astype(np.int16), np.zeros(shape, np.uint8)
    start = [int(rng.integers(0, n)) for n in shape]
    labels[tuple(slice(a, int(rng.integers(a, n)) + 1) for a, n in zip(start, shape, strict=True))] = 2
    margin = draw(st.none() | st.tuples(*[st.integers(0, 3)] * 3))
    size = draw(st.none() | st.tuples(*[st.none() | st.integers(1, 12)] * 3))
    return image, labels, affine, Preparation(margin, draw(st.booleans()), size)


@given(sources(), st.sampled_from(list(READERS)))
@settings(max_examples=40, deadline=None)
def test_a_derived_file_read_by_nnunet_is_what_is_prepared_of_the_source_read_by_nnunet(
    tmp_path_factory, source, reader
):
    image, labels, affine, preparation = source
    root = tmp_path_factory.mktemp("raw")
    folder = root / "Dataset001_A"
    save(folder / "imagesTr" / "a_0000.nii.gz", image, affine)
    save(folder / "labelsTr" / "a.nii.gz", labels, affine)
    (folder / "dataset.json").write_text(json.dumps(dataset_json({"background": 0, "x": 1, "y": 2}, reader)))
    rule = load_rule(str(write_rule(root / "mine.json", preparation=preparation.as_json())))
    masks = ("reference",) if preparation.needs_mask else ()
    made = derive(Settings(root, 1, 2, rule, masks, workers=1)).dataset
    stock = READERS[reader]()
    before, about = stock.read_images([str(folder / "imagesTr" / "a_0000.nii.gz")])
    outlined, _ = stock.read_seg(str(folder / "labelsTr" / "a.nii.gz"))
    prepared = prepare(before[0], about["spacing"], preparation, outlined[0])
    after, about = stock.read_images([str(made / "imagesTr" / "a_0000.nii.gz")])
    assert np.array_equal(after[0], prepared.array)
    assert np.allclose(about["spacing"], prepared.spacing_zyx_mm, rtol=1e-5)
    label_map, _ = stock.read_seg(str(made / "labelsTr" / "a.nii.gz"))
    assert np.array_equal(label_map[0], prepared.placement.labels(outlined[0]))


@given(sources())
@settings(max_examples=30, deadline=None)
def test_a_resized_scan_holds_at_every_place_of_the_patient_what_scipy_interpolates_there(tmp_path_factory, source):
    image, labels, affine, preparation = source
    root = tmp_path_factory.mktemp("raw")
    folder = root / "Dataset001_A"
    save(folder / "imagesTr" / "a_0000.nii.gz", image, affine)
    save(folder / "labelsTr" / "a.nii.gz", labels, affine)
    (folder / "dataset.json").write_text(json.dumps(dataset_json({"background": 0, "x": 1, "y": 2})))
    rule = load_rule(str(write_rule(root / "mine.json", preparation={"size": preparation.size or (4, None, 9)})))
    made = nib.load(derive(Settings(root, 1, 2, rule, workers=1)).dataset / "imagesTr" / "a_0000.nii.gz")
    places = np.indices(made.shape).reshape(3, -1)
    there = nib.affines.apply_affine(np.linalg.inv(affine) @ made.affine, places.T).T
    expected = ndimage.map_coordinates(image.astype(float), there, order=1, mode="nearest").reshape(made.shape)
    assert np.abs(np.asarray(made.dataobj) - expected).max() <= 0.5 + 0.05  # of 3000 HU; affines are float32 in files


def test_cases_in_no_fold_and_folds_without_cases_are_named(raw, run, tmp_path):
    source = write_dataset(raw)
    folds = [{"train": [NAMES[0]], "val": [NAMES[1]]}, {"train": [NAMES[1]], "val": [NAMES[0]]}]
    (source / "splits_final.json").write_text(json.dumps(folds))
    assert run()[0]["notes"] == ["In no fold, as in Dataset220_KiTS2023: case_00002, case_00003."]
    masks = write_validation(tmp_path / "results", "Dataset220_KiTS2023", {1: NAMES[:1]})
    found, _ = run("--masks", masks, "--skip-bad", target="222", preparation=REGION)
    assert found["notes"] == ["Fold 0 has no case left under 'val'.", "Fold 1 has no case left under 'train'."]


@pytest.mark.parametrize("reader", READERS)
def test_label_maps_of_a_crop_are_put_back_exactly(raw, run, tmp_path, reader):
    source = write_dataset(raw, reader=reader)
    run("--masks", "reference", preparation={**REGION, "mask": True})
    made = raw / "Dataset221_KiTS2023Mine"
    assert main(["restore", str(made / "labelsTr"), str(tmp_path / "back"), "-d", "221"]) == 0
    for number, case in enumerate(NAMES):
        assert voxels(made / "labelsTr" / f"{case}.nii.gz").size < labels_of(number, "23").size
        back = nib.load(tmp_path / "back" / f"{case}.nii.gz")
        assert np.array_equal(np.asarray(back.dataobj), labels_of(number, "23"))
        assert np.allclose(back.affine, nib.load(source / "labelsTr" / f"{case}.nii.gz").affine)


def test_a_resized_label_map_is_put_back_but_for_voxels_beside_another_label(raw, run, tmp_path):
    write_dataset(raw)
    run("--masks", "reference", preparation={**REGION, "size": [None, 6, 5]})  # 8 to 6 and 11 to 5
    assert (
        main(["restore", str(raw / "Dataset221_KiTS2023Mine" / "labelsTr"), str(tmp_path / "back"), "-d", "221"]) == 0
    )
    for number, case in enumerate(NAMES):
        before, back = labels_of(number, "23"), voxels(tmp_path / "back" / f"{case}.nii.gz")
        window = (1, 3, 3)
        bordering = ndimage.maximum_filter(before, window) != ndimage.minimum_filter(before, window)
        assert 0 < np.count_nonzero(before != back)
        assert not np.any((before != back) & ~bordering)


def test_joined_labels_come_back_as_the_first_of_them_and_ignored_ones_as_background(raw, run, tmp_path):
    write_dataset(raw, labels=REGIONS)
    run(labels={"mass": ["tumor", "cyst"]}, ignore=["background"])
    made = raw / "Dataset221_KiTS2023Mine"
    labels = voxels(made / "labelsTr" / "case_00002.nii.gz")
    assert np.array_equal(labels, np.array([2, 0, 1, 1])[labels_of(2, "23")])
    assert main(["restore", str(made / "labelsTr"), str(tmp_path / "back"), "-d", "221"]) == 0
    back = voxels(tmp_path / "back" / "case_00002.nii.gz")
    assert np.array_equal(back, np.array([0, 0, 2, 2])[labels_of(2, "23")])


def test_cases_without_a_labelled_voxel_are_named_though_all_of_them_is_ignored(raw, run):
    source = write_dataset(raw)
    label_file = source / "labelsTr" / f"{NAMES[1]}.nii.gz"
    save(label_file, np.zeros_like(voxels(label_file)), nib.load(label_file).affine)
    note = f"No voxel is labelled in {NAMES[1]}."
    assert note in run()[0]["notes"]
    assert note in run(target="222", labels={"tumor": ["tumor"]}, ignore=["background"])[0]["notes"]


def test_a_dataset_has_the_sources_folds_reader_and_licence_and_says_what_it_is(raw, run):
    source = write_dataset(raw, test=[7])
    content = json.loads((source / "dataset.json").read_text())
    (source / "dataset.json").write_text(json.dumps({**content, "licence": "CC BY-NC-SA 4.0"}))
    found, _ = run(labels={"tumor": ["tumor"]}, preset="KiTSDemoPlans")
    made = raw / "Dataset221_KiTS2023Mine"
    assert (found["dataset"], found["training"], found["test"]) == (str(made), NAMES, ["case_00007"])
    assert found["next"][1] == "nnunet_kits plan -d 221 --preset KiTSDemoPlans"
    assert (made / "splits_final.json").read_text() != ""
    assert json.loads((made / "splits_final.json").read_text()) == json.loads(
        (source / "splits_final.json").read_text()
    )
    derived = json.loads((made / "dataset.json").read_text())
    assert derived["labels"] == {"background": 0, "tumor": 1}
    assert derived["numTraining"] == 4
    assert derived["licence"] == "CC BY-NC-SA 4.0"
    assert derived["overwrite_image_reader_writer"] == "NibabelIOWithReorient"
    assert derived["description"] == "Dataset220_KiTS2023, derived by mine: For tests."
    assert np.array_equal(voxels(made / "imagesTs" / "case_00007_0000.nii.gz"), image_of(7))
    assert not list((made / "labelsTr").glob("case_00007*"))


def test_folds_that_nnunet_drew_for_the_preprocessed_source_are_taken_where_it_has_none(
    raw, run, tmp_path, monkeypatch
):
    source = write_dataset(raw)
    folds = (source / "splits_final.json").read_text()
    (source / "splits_final.json").unlink()
    found, _ = run()
    assert "has no splits_final.json, so nnU-Net will draw folds of its own for the new dataset." in found["notes"][0]
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "pre"))
    (tmp_path / "pre" / source.name).mkdir(parents=True)
    (tmp_path / "pre" / source.name / "splits_final.json").write_text(folds)
    assert run()[0]["notes"] == []
    assert json.loads((raw / "Dataset221_KiTS2023Mine" / "splits_final.json").read_text()) == json.loads(folds)


def test_each_mask_of_a_trained_model_is_of_the_fold_that_validated_its_case(raw, run, tmp_path):
    write_dataset(raw)
    model = write_validation(tmp_path / "results", "Dataset220_KiTS2023", {0: NAMES[:2], 1: NAMES[2:], "all": NAMES})
    run("--masks", model, preparation={"region": {"margin_voxels": [0, 0, 0]}})
    made = raw / "Dataset221_KiTS2023Mine" / "imagesTr"
    for number, case in enumerate(NAMES):
        box = (slice(1, 3), slice(2, 4), slice(3, 5 if case in NAMES[:2] else 6))
        assert np.array_equal(voxels(made / f"{case}_0000.nii.gz"), image_of(number)[box])


def test_masks_of_test_cases_come_from_another_folder(raw, run, tmp_path):
    write_dataset(raw, test=[7])
    model = write_validation(tmp_path / "results", "Dataset220_KiTS2023", {0: NAMES})
    mask = np.zeros((6, 10, 12), np.uint8)
    mask[3, 4, 5] = 1
    save(tmp_path / "predicted" / "case_00007.nii.gz", mask)
    found, _ = run("--masks", model, tmp_path / "predicted", preparation={"region": {"margin_voxels": [0, 0, 0]}})
    assert found["test"] == ["case_00007"]
    one = voxels(raw / "Dataset221_KiTS2023Mine" / "imagesTs" / "case_00007_0000.nii.gz")
    assert one.tolist() == [[[image_of(7)[3, 4, 5]]]]


def test_test_cases_have_no_reference_to_crop_to_and_are_left_out(raw, run):
    write_dataset(raw, test=[7])
    found, _ = run("--masks", "reference", preparation=REGION)
    assert found["test"] == []
    assert found["notes"] == ["Left out, because they have no reference to take a mask from: case_00007."]


def test_masks_of_a_model_of_a_derived_dataset_are_put_back_on_the_cts_grid_by_themselves(raw, run, tmp_path):
    write_dataset(raw)
    run(preparation={"size": [6, 5, 6]})  # half the rows and columns
    grid = nib.load(raw / "Dataset221_KiTS2023Mine" / "labelsTr" / "case_00000.nii.gz")
    model = write_validation(tmp_path / "results", "Dataset221_KiTS2023Mine", {0: NAMES}, grid.shape, grid.affine)
    found, _ = run("--masks", model, target="222", preparation={"region": {"margin_voxels": [0, 0, 0]}})
    assert found["training"] == NAMES
    made = raw / "Dataset222_KiTS2023Mine" / "imagesTr"
    box = (slice(1, 3), slice(4, 8), slice(6, 10))  # twice [1:3, 2:4, 3:5] of the half grid
    assert np.array_equal(voxels(made / "case_00001_0000.nii.gz"), image_of(1)[box])
    assert main(["restore", str(model), str(tmp_path / "back"), "-d", "221"]) == 0
    assert np.argwhere(voxels(tmp_path / "back" / "case_00001.nii.gz")).min(axis=0).tolist() == [1, 4, 6]


def test_the_same_command_again_does_nothing_and_two_workers_write_the_same(raw, run):
    write_dataset(raw)
    run("--masks", "reference", preparation=REGION)
    made = raw / "Dataset221_KiTS2023Mine"
    once, times = files_of(made), {path: path.stat().st_mtime_ns for path in made.rglob("*.nii.gz")}
    found, _ = run("--masks", "reference", preparation=REGION)
    assert found["derived"] == 0
    assert files_of(made) == once
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*.nii.gz")} == times
    found, _ = run("-np", "2", "--masks", "reference", target="222", preparation=REGION)
    assert found["derived"] == 4
    for path in times:
        other = raw / "Dataset222_KiTS2023Mine" / path.relative_to(made)
        assert other.read_bytes() == path.read_bytes()


def test_after_a_kill_the_same_command_does_only_what_is_left(raw, tmp_path):
    source = write_dataset(raw)
    for number in range(30):
        save(source / "imagesTr" / f"more_{number:02d}_0000.nii.gz", image_of(number).astype(np.int16))
        save(source / "labelsTr" / f"more_{number:02d}.nii.gz", labels_of(number, "23"))
    rule = write_rule(tmp_path / "mine.json", preparation=REGION)
    command = [sys.executable, "-m", "nnunet_kits.cli.main", "derive", "-d", "220", "-o", "221", "--rule", str(rule)]
    command += ["--masks", "reference", "-np", "1"]
    records = raw / "Dataset221_KiTS2023Mine" / ".derivation"
    process = subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while len(list(records.glob("*.json"))) < 3:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.001)
    process.kill()
    process.communicate()
    finished = {path.name: path.stat().st_mtime_ns for path in records.glob("*.json")}
    assert 3 <= len(finished) < 34
    assert not (records.parent / "dataset.json").exists()
    for name in (path.removesuffix(".json") for path in finished):  # what is recorded is whole
        nib.load(records.parent / "imagesTr" / f"{name}_0000.nii.gz").get_fdata()
    again = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True)
    assert f"34 training and 0 test cases, {34 - len(finished)} of them derived now" in again.stdout
    assert {name: (records / name).stat().st_mtime_ns for name in finished} == finished
    assert not [path for path in records.parent.rglob("*") if path.name.endswith((".part", ".staging"))]


def test_label_maps_that_were_put_back_are_not_written_again_unless_they_changed(raw, run, tmp_path):
    write_dataset(raw)
    run("--masks", "reference", preparation=REGION)
    labels = raw / "Dataset221_KiTS2023Mine" / "labelsTr"
    command = ["restore", str(labels), str(tmp_path / "back"), "-d", "221"]
    assert main(command) == 0
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "back").glob("*.nii.gz")}
    os.utime(labels / "case_00001.nii.gz", ns=(1, 1))
    assert main(command) == 0
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "back").glob("*.nii.gz")}
    assert [name for name in times if again[name] != times[name]] == ["case_00001.nii.gz"]


def test_a_ct_of_broken_hu_that_is_not_prepared_keeps_them(raw, run):
    source = write_dataset(raw)
    broken = image_of(0).astype(np.float32) + np.float32(0.25)
    save(source / "imagesTr" / "case_00000_0000.nii.gz", broken)
    run(labels={"tumor": ["tumor"]})
    assert np.array_equal(voxels(raw / "Dataset221_KiTS2023Mine" / "imagesTr" / "case_00000_0000.nii.gz"), broken)


def test_there_are_as_many_workers_as_the_largest_case_leaves_memory_for(tmp_path, monkeypatch):
    image = save(tmp_path / "a.nii.gz", np.zeros((10, 100, 100), np.int16), IPL)
    cases = [Case("a", image, None)] * 20
    assert default_workers(cases, Preparation()) == 1  # a small dataset
    monkeypatch.setattr("nnunet_kits.derivation.derive.SMALL_VOXELS", 0)
    monkeypatch.setattr("nnunet_kits.cases.memory.cpu_count", lambda: 8)
    monkeypatch.setattr("nnunet_kits.cases.memory.available_memory_bytes", lambda: 1_000_000_000)
    assert default_workers(cases, Preparation()) == 4  # 0.2 GB each and a little
    assert default_workers(cases, Preparation(size=(100, 100, 100))) == 4
    assert default_workers(cases, Preparation(size=(100, 500, 500))) == 2
    monkeypatch.setattr("nnunet_kits.cases.memory.available_memory_bytes", lambda: None)
    assert default_workers(cases, Preparation()) == 8


def test_the_shipped_rules_are_listed(capsys):
    assert main(["derive", "--list"]) == 0
    out = capsys.readouterr().out
    assert "chen_zhang_coarse    Kidney with masses; the whole CT in 128 x 128 x 128." in out
