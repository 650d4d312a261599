"""Preprocessing writes what nnU-Net's own would: for any geometry, reader, label form and option of the plans."""

import json
import os
import shutil

import blosc2
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from small_data import CASES, FORMS, small_dataset_json, small_plans

from nnunet_kits.cli.main import main
from nnunet_kits.errors import PreprocessingError, ResamplingError
from nnunet_kits.geometry import nonzero_box
from nnunet_kits.preprocessing.dataset import no_equal, preprocess_dataset
from nnunet_kits.preprocessing.foreground import outside, sample_locations
from nnunet_kits.preprocessing.preprocessor import FastPreprocessor

READERS = ("NibabelIOWithReorient", "NibabelIO", "SimpleITKIO", "SimpleITKIOWithReorient")
NOT_RESAMPLED = {
    key: value
    for kind in ("data", "seg")
    for key, value in ((f"resampling_fn_{kind}", "no_resampling_hack"), (f"resampling_fn_{kind}_kwargs", {}))
}
edges = st.sampled_from([0.5, 0.8, 1.0, 1.0, 3.0, 5.0])
permutations = st.permutations([0, 1, 2])


def same(a, b, where=""):
    """Whether two values are of the same types and equal, inside dictionaries and lists too."""
    assert type(a) is type(b), (where, type(a), type(b))
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            same(one, other, f"{where}/{index}")
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, where
        assert np.array_equal(a, b), where
    else:
        assert a == b, where


@st.composite
def cases(draw):
    """Image, label map and affine of a small scan: any axes, flips, spacing, dtype and empty margins, maybe oblique."""
    shape = draw(st.tuples(*[st.integers(3, 18)] * 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = random.integers(0, 250, shape).astype(draw(st.sampled_from(["i2", "f8", "f4", "u1", "i4"])))
    if image.dtype.kind != "u":
        image -= 100
    if draw(st.booleans()):
        image[random.random(shape) < 0.5] = 0
        image[: draw(st.integers(0, 2))] = 0
        image[:, : draw(st.integers(0, 2))] = 0
    label = np.where(random.random(shape) < draw(st.sampled_from([0.2, 1.0])), random.integers(0, 4, shape), 0)
    affine = np.diag([draw(edges), draw(edges), draw(edges), 1.0])[[*draw(permutations), 3]]
    affine[:3] *= np.array(draw(st.tuples(*[st.sampled_from([-1, 1])] * 3)))[:, None]
    if draw(st.booleans()):
        turn = np.array([[np.cos(0.2), -np.sin(0.2), 0], [np.sin(0.2), np.cos(0.2), 0], [0, 0, 1]])
        affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = random.normal(size=3) * 10
    return image, label.astype(draw(st.sampled_from(["u1", "u2", "i2", "f4"]))), affine


@st.composite
def options(draw):
    """Plans manager, configuration and dataset.json with any of the options that preprocessing follows."""
    form = draw(st.sampled_from(list(FORMS)))
    force = draw(st.sampled_from([None, True, False]))
    kwargs = {"order_z": 0, "force_separate_z": force}
    made = small_plans(
        form,
        normalization_schemes=[draw(st.sampled_from(["CTNormalization", "ZScoreNormalization", "NoNormalization"]))],
        use_mask_for_norm=[draw(st.booleans())],
        resampling_fn_data_kwargs={**kwargs, "is_seg": False, "order": draw(st.sampled_from([3, 1]))},
        resampling_fn_seg_kwargs={**kwargs, "is_seg": True, "order": draw(st.sampled_from([1, 1, 0]))},
    )
    if draw(st.integers(0, 4)) == 0:
        for configuration in (made["configurations"]["3d_fullres"], made["configurations"]["2d"]):
            configuration.update(NOT_RESAMPLED)
    made["configurations"]["3d_fullres"]["spacing"] = [draw(edges), draw(edges), draw(edges)]
    made["configurations"]["2d"]["spacing"] = [draw(edges), draw(edges)]
    forward = draw(permutations)
    made["transpose_forward"], made["transpose_backward"] = forward, [forward.index(axis) for axis in range(3)]
    made["image_reader_writer"] = draw(st.sampled_from(READERS))
    manager = PlansManager(made)
    return manager, manager.get_configuration(draw(st.sampled_from(["3d_fullres", "2d"]))), small_dataset_json(form)


@given(cases(), options(), st.booleans())
@settings(max_examples=80, deadline=None)
def test_a_case_of_any_geometry_and_options_equals_nnunets(tmp_path_factory, case, chosen, with_label):
    folder = tmp_path_factory.mktemp("case")
    image, label, affine = case
    nib.save(nib.Nifti1Image(image, affine), folder / "image.nii.gz")
    nib.save(nib.Nifti1Image(label, affine), folder / "label.nii.gz")
    arguments = ([str(folder / "image.nii.gz")], str(folder / "label.nii.gz") if with_label else None, *chosen)
    try:
        expected = DefaultPreprocessor(verbose=False).run_case(*arguments)
    except (ValueError, RuntimeWarning):  # an axis with no voxel left
        with pytest.raises(ResamplingError, match="no voxel is left along an axis"):
            FastPreprocessor().run_case(*arguments)
        return
    found = FastPreprocessor().run_case(*arguments)
    assert found[0].dtype == np.float32
    assert found[0].shape == expected[0].shape
    assert np.abs(found[0] - expected[0]).max() < 1e-6 * max(100, np.abs(expected[0]).max())
    same(found[1], expected[1])
    same(found[2], expected[2])


def test_arrays_are_taken_as_files_are_and_not_changed():
    random = np.random.default_rng(0)
    data = random.integers(-200, 400, (1, 9, 10, 11)).astype(np.float32)
    data[:, :, :3] = 0
    seg = random.integers(0, 4, (1, 9, 10, 11)).astype(np.float32)
    manager = PlansManager(small_plans("classes"))
    given_plans = (manager, manager.get_configuration("3d_fullres"), small_dataset_json("classes"))
    kept = data.copy(), seg.copy()
    expected = DefaultPreprocessor(verbose=False).run_case_npy(data, seg, {"spacing": [3.0, 9.0, 9.0]}, *given_plans)
    found = FastPreprocessor().run_case_npy(data, seg, {"spacing": [3.0, 9.0, 9.0]}, *given_plans)
    assert np.allclose(found[0], expected[0], atol=1e-5)
    same(found[1:], expected[1:])
    assert np.array_equal(data, kept[0])
    assert np.array_equal(seg, kept[1])


def test_two_channels_go_through_nnunets_reader_and_labels_without_an_equal_through_its_resampling(tmp_path):
    random = np.random.default_rng(0)
    affine = np.diag([2, 3, 4, 1.0])
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(random.standard_normal((9, 10, 11)), affine), tmp_path / f"{name}.nii")
    nib.save(nib.Nifti1Image(random.integers(0, 4, (9, 10, 11), np.uint8), affine), tmp_path / "l.nii")
    torch_seg = {"is_seg": True, "force_separate_z": False}
    made = small_plans(
        "classes",
        normalization_schemes=["ZScoreNormalization", "CTNormalization"],
        use_mask_for_norm=[False, False],
        resampling_fn_seg="resample_torch_fornnunet",
        resampling_fn_seg_kwargs=torch_seg,
    )
    made["foreground_intensity_properties_per_channel"]["1"] = made["foreground_intensity_properties_per_channel"]["0"]
    manager = PlansManager(made)
    configuration = manager.get_configuration("3d_fullres")
    files = [str(tmp_path / "a.nii"), str(tmp_path / "b.nii")]
    arguments = (files, str(tmp_path / "l.nii"), manager, configuration, small_dataset_json("classes"))
    expected, found = DefaultPreprocessor(verbose=False).run_case(*arguments), FastPreprocessor().run_case(*arguments)
    assert np.allclose(found[0], expected[0], atol=1e-5)
    same(found[1:], expected[1:])
    (sentence,) = no_equal(configuration.configuration)
    assert sentence.startswith("label maps are resampled by nnU-Net's resample_torch_fornnunet")
    assert no_equal({**configuration.configuration, **NOT_RESAMPLED}) == []


def test_a_case_of_more_channels_than_the_plans_know_is_refused_as_by_nnunet():
    manager = PlansManager(small_plans("classes"))
    arguments = (np.ones((2, 4, 4, 4), np.float32), None, {"spacing": [7.0, 7.0, 7.0]}, manager)
    for preprocessor in (DefaultPreprocessor(verbose=False), FastPreprocessor()):
        with pytest.raises(IndexError):
            preprocessor.run_case_npy(*arguments, manager.get_configuration("3d_fullres"), {})


def test_labels_above_127_and_labels_that_are_no_integers_become_what_nnunet_makes_of_them():
    manager = PlansManager(small_plans("classes"))
    given_plans = (manager, manager.get_configuration("3d_fullres"), small_dataset_json("classes"))
    for values, dtype in (([0, 1, 200], np.int16), ([0, 1.5, 2], np.int8), ([0, 1, 40000], np.int16)):
        seg = np.random.default_rng(0).choice(np.array(values, np.float32), (1, 9, 10, 11))
        data = np.ones((1, 9, 10, 11), np.float32)
        expected, found = (
            base.run_case_npy(data, seg, {"spacing": [9.0, 9.0, 9.0]}, *given_plans)[1]
            for base in (DefaultPreprocessor(verbose=False), FastPreprocessor())
        )
        assert found.dtype == dtype
        same(found, expected)


def test_image_and_label_map_of_different_shapes_are_refused():
    manager = PlansManager(small_plans("classes"))
    with pytest.raises(PreprocessingError, match=r"image has \(4, 4, 4\) voxels but the label map \(4, 4, 5\)"):
        FastPreprocessor().run_case_npy(
            np.zeros((1, 4, 4, 4)), np.zeros((1, 4, 4, 5)), {}, manager, manager.get_configuration("3d_fullres"), {}
        )


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 9)] * 3), st.sampled_from([0.3, 0.6, 0.9, 1.0]))
@settings(max_examples=80, deadline=None)
def test_box_and_outside_are_those_of_crop_to_nonzero(seed, shape, share):
    image = (np.random.default_rng(seed).random((2, *shape)) > share).astype(np.int16)
    cropped, label, box = crop_to_nonzero(image.astype(np.float32), None)
    assert [list(rows) for rows in nonzero_box(image)] == box
    mask = np.zeros(shape, np.int8)
    for layer in outside(np.asfortranarray(image)):
        mask[layer] = -1
    inside = tuple(slice(*limits) for limits in box)
    assert cropped.shape[1:] == mask[inside].shape
    assert np.array_equal(mask[inside], label[0])


@pytest.mark.parametrize("classes", [[1, 2, 3], [(1, 2, 3), (2, 3), 2], [1, 2, [-1, 0, 1, 2, 3]], [7, (7, 8)]])
def test_class_locations_are_nnunets_draws(classes):
    labels = np.random.default_rng(0).choice([-1, 0, 0, 0, 1, 2, 3], (1, 30, 40, 50)).astype(np.int8)
    expected = DefaultPreprocessor._sample_foreground_locations(labels, classes)
    same(sample_locations(labels, classes), expected)


@pytest.fixture
def planned(small_datasets, nnunet):
    """The small dataset with classes, converted and planned but not preprocessed; (root, stock's folder)."""
    name = FORMS["classes"][0]
    shutil.copytree(small_datasets / "nnUNet_raw" / name, nnunet / "nnUNet_raw" / name)
    (nnunet / "nnUNet_preprocessed" / name).mkdir()
    stock = small_datasets / "nnUNet_preprocessed" / name
    for file in ("dataset.json", "SmallPlans.json"):
        shutil.copy(stock / file, nnunet / "nnUNet_preprocessed" / name)
    return nnunet / "nnUNet_preprocessed" / name, stock


def assert_same_folder(ours, stock):
    """Whether two folders of preprocessed cases hold the same files, cut the same way, with equal content."""
    assert sorted(os.listdir(ours)) == sorted(os.listdir(stock))
    one, other = (infer_dataset_class(str(folder))(str(folder)) for folder in (ours, stock))
    assert sorted(one.identifiers) == sorted(other.identifiers)
    for case in one.identifiers:
        (image, label, _, properties), (image2, label2, _, properties2) = one.load_case(case), other.load_case(case)
        assert np.allclose(image[:], image2[:], atol=1e-5)
        assert np.array_equal(label[:], label2[:])
        same(properties, properties2)
        for a, b in ((image, image2), (label, label2)):
            assert (a.dtype, a.chunks, a.blocks, a.cparams.codec) == (b.dtype, b.chunks, b.blocks, b.cparams.codec)


def test_the_command_leaves_what_nnunet_leaves_and_keeps_what_is_done(planned, capsys, monkeypatch, run):
    ours, stock = planned
    words = ["preprocess", "-d", "220", "-p", "SmallPlans", "-c", "2d", "3d_fullres", "3d_cascade_fullres", "-np", "1"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "3d_fullres: 5 cases preprocessed by 1 worker, 0 kept" in printed
    told = [f"  nnUNetv2_train 220 {c} 0 -p SmallPlans -tr ResUNetTrainer\n" for c in ("2d", "3d_fullres")]
    assert printed.endswith("Next:\n" + "".join(told))  # without its low resolution the cascade cannot be trained
    for folder in ("Small_2d", "Small_3d_fullres"):
        assert_same_folder(ours / folder, stock / folder)
    copies = {file.name: file.read_bytes() for file in (ours / "gt_segmentations").iterdir()}
    assert copies == {file.name: file.read_bytes() for file in (stock / "gt_segmentations").iterdir()}
    (ours / "Small_3d_fullres" / f"{CASES[0]}_seg.b2nd").unlink()
    os.utime(ours.parents[1] / "nnUNet_raw" / ours.name / "imagesTr" / f"{CASES[1]}_0000.nii.gz")
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "2d: 1 cases preprocessed by 1 worker, 4 kept" in printed
    assert "3d_fullres: 2 cases preprocessed by 1 worker, 3 kept" in printed
    assert "3d_cascade_fullres uses the data of 3d_fullres." in printed
    assert_same_folder(ours / "Small_3d_fullres", stock / "Small_3d_fullres")


@pytest.fixture
def run(caplog):
    """Preprocess one configuration: what came of it, and what the user should know."""

    def preprocess(**more):
        caplog.clear()
        (outcome,) = preprocess_dataset(220, "SmallPlans", ["3d_fullres"], workers=1, **more)
        return outcome, [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    return preprocess


def test_other_settings_and_cases_that_are_gone_are_made_anew(planned, run):
    ours, _ = planned
    (ours / "Small_3d_fullres").mkdir()
    (ours / "Small_3d_fullres" / "case_of_nnunet.b2nd").touch()
    outcome, said = run()
    assert outcome.made == 5
    assert said == [f"{outcome.folder} is of other settings, or not by this command: all of it is made again."]
    raw = ours.parents[1] / "nnUNet_raw" / ours.name
    for file in (raw / "imagesTr" / f"{CASES[4]}_0000.nii.gz", raw / "labelsTr" / f"{CASES[4]}.nii.gz"):
        file.unlink()
    outcome, said = run()
    assert (outcome.made, outcome.kept, outcome.workers, said) == (0, 4, 0, [])
    assert not list(outcome.folder.glob(f"{CASES[4]}*"))
    plans = json.loads((ours / "SmallPlans.json").read_text())
    plans["configurations"]["3d_fullres"]["spacing"] = [9.0, 9.0, 9.0]
    (ours / "SmallPlans.json").write_text(json.dumps(plans))
    from nnunet_kits.preprocessing import dataset

    dataset._plans.cache_clear()
    assert run()[0].made == 4


def test_what_is_named_as_an_image_and_is_none_is_refused_not_left_out(planned, run):
    ours, _ = planned
    image = ours.parents[1] / "nnUNet_raw" / ours.name / "imagesTr" / f"{CASES[3]}_0000.nii.gz"
    image.unlink()
    image.symlink_to("nowhere")
    with pytest.raises(PreprocessingError, match=rf"{image.name}: is a link to nothing, not an image"):
        run()
    image.unlink()
    image.mkdir()
    with pytest.raises(PreprocessingError, match=rf"{image.name}: is a folder, not an image"):
        run()


def test_the_faster_codec_is_read_by_nnunet_and_gives_the_same(planned, run):
    _, stock = planned
    outcome, _ = run(codec="lz4")
    image = outcome.folder / f"{CASES[0]}.b2nd"
    assert blosc2.open(str(image), mode="r").cparams.codec == blosc2.Codec.LZ4
    one, other = (
        infer_dataset_class(str(f))(str(f)).load_case(CASES[0]) for f in (outcome.folder, stock / image.parent.name)
    )
    assert np.allclose(one[0][:], other[0][:], atol=1e-5)


def test_a_bad_case_stops_the_run_with_its_name_and_leaves_no_part_of_it(planned, run):
    ours, _ = planned
    bad = ours.parents[1] / "nnUNet_raw" / ours.name / "imagesTr" / f"{CASES[2]}_0000.nii.gz"
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PreprocessingError, match=rf"^{CASES[2]}: .*{bad.name}: the gzip file is truncated"):
        run()
    assert set(os.listdir(ours)) == {
        "Small_3d_fullres",
        "Small_3d_fullres_record.json",
        "SmallPlans.json",
        "dataset.json",
    }
    assert len(list((ours / "Small_3d_fullres").iterdir())) == 6
    bad.write_bytes(whole)
    assert run()[0].made == 3


def test_an_error_of_any_kind_names_the_case_and_its_files(planned, monkeypatch, run):
    def fail(*_arguments):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(FastPreprocessor, "run_case_save", fail)
    with pytest.raises(
        PreprocessingError, match=rf"^{CASES[0]}: RuntimeError: out of luck\. Its files are .*{CASES[0]}"
    ):
        run()


def test_a_preprocessor_of_another_name_is_left_to_nnunet(planned, monkeypatch, run):
    ours, _ = planned
    plans = json.loads((ours / "SmallPlans.json").read_text())
    plans["configurations"]["3d_fullres"]["preprocessor_name"] = "RGBPreprocessor"
    (ours / "SmallPlans.json").write_text(json.dumps(plans))
    called = []

    class Other:
        def __init__(self, verbose):
            pass

        def run(self, *arguments):
            called.append(arguments)

    monkeypatch.setattr(
        "nnunetv2.utilities.plans_handling.plans_handler.recursive_find_python_class", lambda *_a, **_k: Other
    )
    outcome, said = run()
    assert said == ["3d_fullres: its preprocessor is RGBPreprocessor, which nnU-Net runs itself."]
    assert called == [("Dataset220_KiTS2023", "3d_fullres", "SmallPlans", 1)]
    assert outcome.made == 5


def test_what_is_missing_is_said_with_what_to_do(planned, nnunet):
    ours, _ = planned
    with pytest.raises(PreprocessingError, match=r"no dataset 777. Run nnunet_kits convert first"):
        preprocess_dataset(777, "SmallPlans")
    with pytest.raises(
        PreprocessingError, match=r"no such plans; found: SmallPlans. Run nnunet_kits plan -d 220 first"
    ):
        preprocess_dataset(220, "OtherPlans")
    with pytest.raises(PreprocessingError, match=r"no configuration '4d'. It has 2d, 3d_fullres"):
        preprocess_dataset(220, "SmallPlans", ["4d"])
    plans = json.loads((ours / "SmallPlans.json").read_text())
    plans["configurations"]["2d"]["data_identifier"] = ".."
    (ours / "SmallPlans.json").write_text(json.dumps(plans))
    with pytest.raises(PreprocessingError, match=r"2d keeps its data in '..', which must be a folder's own name"):
        preprocess_dataset(220, "SmallPlans", ["2d"])
    shutil.rmtree(nnunet / "nnUNet_raw" / ours.name / "imagesTr")
    (nnunet / "nnUNet_raw" / ours.name / "imagesTr").mkdir()
    with pytest.raises(PreprocessingError, match="no training case"):
        preprocess_dataset(220, "SmallPlans")
    (ours / "dataset.json").write_text("{")
    with pytest.raises(PreprocessingError, match=r"dataset\.json: not a JSON file .* Convert and plan it again"):
        preprocess_dataset(220, "SmallPlans")


def test_workers_below_1_are_refused(capsys):
    assert main(["preprocess", "-d", "220", "-p", "SmallPlans", "-np", "0"]) == 2
    assert "-np is 0, but must be at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_two_workers_leave_what_nnunets_own_command_leaves(planned, monkeypatch, tmp_path):
    from nnunetv2.experiment_planning import plan_and_preprocess_api

    ours, _ = planned
    other = tmp_path / "stock" / ours.name
    shutil.copytree(ours, other)
    with monkeypatch.context() as patch:
        patch.setenv("nnUNet_preprocessed", str(other.parent))
        plan_and_preprocess_api.preprocess([220], "SmallPlans", ["3d_fullres"], [1], show_progress_bar=False)
    (outcome,) = preprocess_dataset(220, "SmallPlans", ["3d_fullres"], workers=2)
    assert outcome.workers == 2
    assert_same_folder(outcome.folder, other / outcome.folder.name)
    assert sorted(os.listdir(ours / "gt_segmentations")) == sorted(os.listdir(other / "gt_segmentations"))
