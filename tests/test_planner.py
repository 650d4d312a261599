"""Plans written by nnU-Net's planner from a preset, on a dataset that consists of its fingerprint alone."""

import json

import numpy as np
import pytest
import torch
from small_plans import dataset_json, write_fingerprint

from nnunet_kits.cli.main import main, parser
from nnunet_kits.errors import PlanError
from nnunet_kits.planning.planner import PresetPlanner, _some_augmentation_processes, plan_dataset
from nnunet_kits.planning.presets import PRESETS_FOLDER, load_preset, preset_names
from nnunet_kits.preprocessing.dataset import Outcome
from nnunet_kits.training.names import parse_trainer_name
from nnunet_kits.training.published import PUBLISHED

DATASET = "Dataset220_KiTS2023"


@pytest.fixture
def converted(nnunet):
    """Raw folder and fingerprint of a dataset whose cases are all 200 x 512 x 512 of 2.5 x 0.8 x 0.8 mm."""
    raw, _ = write_fingerprint(nnunet, 3, [2.5, 0.8, 0.8], [200, 512, 512])
    (raw / "splits_final.json").write_text('[{"train": ["a"], "val": ["b"]}]')
    return nnunet


PLANNED = {}


def planned(name):
    """The plans of a preset for ``converted``: made once, since nnU-Net estimates a network's memory every time."""
    if name not in PLANNED:
        PLANNED[name] = plan_dataset(220, load_preset(name))[0].read_text()
    return json.loads(PLANNED[name])


def read(plans_file):
    return json.loads(plans_file.read_text())["configurations"]


def next_commands(printed):
    """The commands that a verb ends with, without their remarks."""
    _, _, told = printed.rpartition("Next:")
    return [line.split("   #")[0].strip() for line in told.strip().splitlines()]


def test_plan_and_preprocess_name_the_next_commands_with_the_presets_own_trainers(converted, capsys, monkeypatch):
    plans = "-p KiTSChenZhang25DPlans -tr"
    training = [
        f"nnUNetv2_train 220 3d_lowres 0 {plans} ChenZhangCoarseTrainer",
        f"nnUNetv2_train 220 3d_fullres 0 {plans} ChenZhang25DTrainer",
        f"nnunet_kits cascade -d 220 {plans} ChenZhang25DTrainer_after_ChenZhangCoarseTrainer",
    ]
    assert main(["plan", "-d", "220", "--preset", "KiTSChenZhang25DPlans"]) == 0
    preprocess = "nnunet_kits preprocess -d 220 -p KiTSChenZhang25DPlans"
    assert next_commands(capsys.readouterr().out) == [preprocess, *training]
    monkeypatch.setattr(
        "nnunet_kits.preprocessing.dataset.preprocess_dataset", lambda *_: [Outcome("3d_lowres", converted, 1, 0, 1)]
    )
    for configurations, told in (((), training), (("3d_fullres", "3d_cascade_fullres"), training[1:2])):
        words = ["-c", *configurations] if configurations else []
        assert main(["preprocess", "-d", "220", "-p", "KiTSChenZhang25DPlans", *words]) == 0
        assert next_commands(capsys.readouterr().out) == told


@pytest.mark.parametrize("preset", preset_names())
def test_the_commands_that_plan_names_are_taken_and_their_trainers_exist(monkeypatch, tmp_path, capsys, preset):
    monkeypatch.setattr("nnunet_kits.planning.planner.plan_dataset", lambda *_: (tmp_path / "plans.json", []))
    assert main(["plan", "-d", "220", "--preset", preset]) == 0
    preprocess, *training = next_commands(capsys.readouterr().out)
    assert parser().parse_args(preprocess.split()[1:]).plans == preset
    for command in training:
        program, *words = command.split()
        assert parse_trainer_name(words[words.index("-tr") + 1])
        if program == "nnunet_kits":
            assert parser().parse_args(words).plans == preset
        else:
            assert (program, words[0], words[2:5]) == ("nnUNetv2_train", "220", ["0", "-p", preset])
    said = [word for command in training for word in command.split() if word in load_preset(preset).configurations]
    assert set(said) == {name for name, c in load_preset(preset).configurations.items() if "previous_stage" not in c}


def test_a_preset_of_ones_own_names_its_own_trainer_next(converted, capsys, tmp_path):
    content = json.loads((PRESETS_FOLDER / "KiTSZhangPlans.json").read_text())
    content["trainers"]["3d_fullres"] = "PlainUNetTrainer_20epochs"
    (tmp_path / "Mine.json").write_text(json.dumps(content))
    assert main(["plan", "-d", "220", "--preset", str(tmp_path / "Mine.json")]) == 0
    told = next_commands(capsys.readouterr().out)
    assert "nnUNetv2_train 220 3d_fullres 0 -p Mine -tr PlainUNetTrainer_20epochs" in told


def test_the_cascade_preset_becomes_plans_that_nnunet_reads_and_builds(converted):
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans_file, stale = plan_dataset(220, load_preset("KiTSCascadePlans"))
    assert plans_file == converted / "nnUNet_preprocessed" / DATASET / "KiTSCascadePlans.json"
    assert stale == []
    manager = PlansManager(str(plans_file))
    low, full, cascade = (manager.get_configuration(c) for c in ("3d_lowres", "3d_fullres", "3d_cascade_fullres"))
    assert (low.spacing, full.spacing) == ([1.99] * 3, [0.78] * 3)
    assert low.patch_size == full.patch_size == cascade.patch_size == [128, 128, 128]
    assert low.next_stage_names == ["3d_cascade_fullres"]
    assert cascade.previous_stage_name == "3d_lowres"
    assert cascade.data_identifier == full.data_identifier == "KiTSCascadePlans_3d_fullres"
    assert low.data_identifier == "KiTSCascadePlans_3d_lowres"
    assert (low.batch_dice, full.batch_dice) == (False, True)
    arguments = full.network_arch_init_kwargs
    assert arguments["features_per_stage"] == [30, 60, 120, 240, 320, 320]
    assert arguments["strides"] == [[1, 1, 1]] + [[2, 2, 2]] * 5
    assert manager.transpose_forward == [0, 1, 2]
    assert low.configuration["median_image_size_in_voxels"] == [251, 206, 206]


def test_dataset_json_and_splits_are_put_beside_the_plans(converted):
    plans_file, _ = plan_dataset(220, load_preset("KiTSDemoPlans"))
    for name in ("dataset.json", "splits_final.json"):
        assert (plans_file.parent / name).read_text() == (converted / "nnUNet_raw" / DATASET / name).read_text()
    assert not list(plans_file.parent.glob("*.part"))


@pytest.mark.parametrize("name", [name for name in preset_names() if load_preset(name).planner == "ExperimentPlanner"])
def test_the_strides_of_every_preset_divide_its_patches(converted, name):
    for configuration in planned(name)["configurations"].values():
        if "patch_size" in configuration:
            strides = configuration["architecture"]["arch_kwargs"]["strides"]
            for axis, length in enumerate(configuration["patch_size"]):
                factor = 1
                for stride in strides:
                    factor *= stride[axis]
                assert length % factor == 0


def test_a_memory_budget_lets_nnunet_size_the_patch_at_the_presets_spacing(converted):
    small, _ = plan_dataset(220, load_preset("KiTSCascadePlans"), gpu_memory_gb=4)
    four = read(small)["3d_fullres"]
    sixteen = read(plan_dataset(220, load_preset("KiTSCascadePlans"), gpu_memory_gb=16)[0])["3d_fullres"]

    def voxels(configuration):
        z, y, x = configuration["patch_size"]
        return z * y * x * configuration["batch_size"]

    assert four["spacing"] == sixteen["spacing"] == [0.78] * 3
    assert voxels(four) < 128**3 * 2 < voxels(sixteen)


def test_the_resenc_preset_is_sized_as_nnunets_own_planner_sizes_at_that_spacing(converted, monkeypatch):
    from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
        nnUNetPlannerResEncL,
    )
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    fingerprint = converted / "nnUNet_preprocessed" / DATASET / "dataset_fingerprint.json"
    small = json.loads(fingerprint.read_text()) | {"shapes_after_crop": [[64, 200, 200]] * 3}  # for speed
    fingerprint.write_text(json.dumps(small))
    plans_file, _ = plan_dataset(220, load_preset("KiTSResEncLPlans"))
    assert list(read(plans_file)) == ["3d_lowres", "3d_fullres", "3d_cascade_fullres"]
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # 0 stops the stock planner
    stock = nnUNetPlannerResEncL(220, overwrite_target_spacing=[0.78] * 3).plan_experiment()
    ours, theirs = read(plans_file)["3d_fullres"], stock["configurations"]["3d_fullres"]
    for key in ("patch_size", "batch_size", "spacing", "architecture"):
        assert ours[key] == json.loads(json.dumps(theirs[key])), key
    assert ours["data_identifier"] == "KiTSResEncLPlans_3d_fullres"  # the stock planner takes nnUNetPlans' arrays
    network = PlansManager(str(plans_file)).get_configuration("3d_lowres")
    assert network.network_arch_class_name.endswith("ResidualEncoderUNet")
    assert network.network_arch_init_kwargs["n_blocks_per_stage"][:4] == [1, 3, 4, 6]


def test_plans_are_written_afresh_and_stale_arrays_are_named(converted, tmp_path):
    plans_file, _ = plan_dataset(220, load_preset("KiTSCascadePlans"))
    content = json.loads(plans_file.read_text())
    content["configurations"]["mine"] = {}
    plans_file.write_text(json.dumps(content))
    (plans_file.parent / "KiTSCascadePlans_3d_lowres").mkdir()
    assert plan_dataset(220, load_preset("KiTSCascadePlans"))[1] == []
    changed = json.loads((PRESETS_FOLDER / "KiTSCascadePlans.json").read_text())
    changed["configurations"]["3d_lowres"]["spacing_zyx_mm"] = [2.5, 2.5, 2.5]
    (tmp_path / "KiTSCascadePlans.json").write_text(json.dumps(changed))
    again, stale = plan_dataset(220, load_preset(str(tmp_path / "KiTSCascadePlans.json")))
    assert stale == ["3d_lowres"]
    assert list(read(again)) == ["3d_lowres", "3d_fullres", "3d_cascade_fullres"]


def test_planning_does_not_mind_a_setting_that_stops_nnunets_planner(converted, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    assert plan_dataset(220, load_preset("KiTSDemoPlans"))[0].is_file()


@pytest.mark.parametrize(("voxels", "processes"), [(100_000_000, 2), (1_000_000, 1)])
def test_a_fingerprint_is_extracted_by_as_many_processes_as_are_worth_it_and_fit(
    converted, monkeypatch, voxels, processes
):
    """nnU-Net needs 2.8 GB for each of the large cases, and there are 8 of 10 GB for them."""
    raw, fingerprint = (converted / part / DATASET for part in ("nnUNet_raw", "nnUNet_preprocessed"))
    (raw / "imagesTr").mkdir(exist_ok=True)
    for case in "abc":
        (raw / "imagesTr" / f"{case}_0000.nii.gz").touch()
    content = (fingerprint / "dataset_fingerprint.json").read_text()
    (fingerprint / "dataset_fingerprint.json").unlink()
    monkeypatch.setattr("nnunet_kits.cases.memory.cpu_count", lambda: 8)
    monkeypatch.setattr("nnunet_kits.cases.memory.available_memory_bytes", lambda: 10_000_000_000)
    monkeypatch.setattr("nnunet_kits.planning.planner.voxels_of", lambda image: voxels)
    asked = []

    def extract(dataset_id, num_processes):
        asked.append((dataset_id, num_processes))
        (fingerprint / "dataset_fingerprint.json").write_text(content)

    monkeypatch.setattr("nnunet_kits.planning.planner.extract_fingerprint_dataset", extract)
    plan_dataset(220, load_preset("KiTSDemoPlans"))
    assert asked == [(220, processes)]


def test_a_patch_that_its_strides_do_not_divide_is_refused_with_one_that_they_do(converted, tmp_path):
    changed = json.loads((PRESETS_FOLDER / "KiTSCascadePlans.json").read_text())
    changed["configurations"]["3d_lowres"]["patch_size"] = [128, 130, 128]
    (tmp_path / "OddPlans.json").write_text(json.dumps(changed))
    with pytest.raises(PlanError, match=r"patch \[128, 130, 128\] is no multiple of its strides \[32, 32, 32\]; the"):
        plan_dataset(220, load_preset(str(tmp_path / "OddPlans.json")))


def test_a_missing_dataset_and_contradicting_splits_are_refused(converted):
    with pytest.raises(PlanError, match=r"there is no complete dataset 221 .* Convert one first: nnunet_kits convert"):
        plan_dataset(221, load_preset("KiTSDemoPlans"))
    (converted / "nnUNet_preprocessed" / DATASET / "splits_final.json").write_text(
        json.dumps([{"train": ["case_00001"], "val": ["case_00002"]}])
    )
    with pytest.raises(PlanError, match=r"splits_final.json differs from .*: the dataset was converted again"):
        plan_dataset(220, load_preset("KiTSDemoPlans"))
    (converted / "nnUNet_raw" / DATASET / "dataset.json").unlink()
    with pytest.raises(PlanError, match=r"Dataset220_KiTS2023 has no dataset.json"):
        plan_dataset(220, load_preset("KiTSDemoPlans"))


def test_a_window_of_hounsfield_units_becomes_minus_one_to_one(converted):
    from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization

    plans_file, _ = plan_dataset(220, load_preset("KiTSChenZhang25DPlans"))
    properties = json.loads(plans_file.read_text())["foreground_intensity_properties_per_channel"]["0"]
    image = np.array([-1000.0, -200.0, 100.0, 400.0, 3000.0], np.float32)
    assert CTNormalization(False, properties).run(image).tolist() == [-1, -1, 0, 1, 1]


@pytest.mark.parametrize(
    ("name", "low", "high", "mean", "std"),
    [
        ("KiTSZhangPlans", -79.0, 304.0, 101.0, 76.9),
        ("KiTSBeheshtifardKidneyPlans", 0.0, 200.0, 16.65, 35.98),
        ("KiTSBeheshtifardTumorPlans", -32768.0, 32767.0, 0.664, 4.725),
        ("KiTSChenJin2DPlans", -75.757, 349.489, 100.0, 75.0),  # the last two of the fingerprint
    ],
)
def test_a_presets_intensities_are_what_nnunets_normalisation_does(converted, name, low, high, mean, std):
    from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization

    properties = PresetPlanner(220, load_preset(name))._intensities()["0"]
    hu = np.array([-32768.0, -1024.0, -79.0, 0.0, 200.0, 304.0, 3071.0, 32767.0], np.float32)
    found = CTNormalization(False, properties).run(hu.copy())
    assert found == pytest.approx([(min(max(float(value), low), high) - mean) / std for value in hu], rel=1e-5)


def test_a_preset_without_resampling_takes_its_spacing_from_the_data_and_names_nnunets_function(converted):
    from nnunetv2.preprocessing.resampling.no_resampling import no_resampling_hack
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    fine = PlansManager(planned("KiTSChenZhangFinePlans")).get_configuration("3d_fullres")
    assert fine.spacing == [2.5, 0.8, 0.8]
    assert fine.configuration["median_image_size_in_voxels"] == [200, 512, 512]
    for kind in ("data", "seg", "probabilities"):
        assert getattr(fine, f"resampling_fn_{kind}").func is no_resampling_hack
        assert fine.configuration[f"resampling_fn_{kind}_kwargs"] == {}


def test_a_configuration_that_inherits_may_have_features_of_its_own_and_shares_the_arrays(converted):
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = planned("KiTSZhangPlans")
    assert set(plans["configurations"]["3d_fullres_plain"]) == {"inherits_from", "architecture"}
    manager = PlansManager(plans)
    shared, plain = (manager.get_configuration(name) for name in ("3d_fullres", "3d_fullres_plain"))
    assert plain.data_identifier == shared.data_identifier
    assert shared.network_arch_init_kwargs["features_per_stage"] == [24, 48, 96, 192, 320, 320]
    own = plain.network_arch_init_kwargs
    assert own.pop("features_per_stage") == [30, 60, 120, 240, 320, 320]
    assert {key: shared.network_arch_init_kwargs[key] for key in own} == own


def test_features_that_are_not_one_a_stage_are_refused(converted, tmp_path):
    changed = json.loads((PRESETS_FOLDER / "KiTSCascadePlans.json").read_text())
    changed["configurations"]["3d_lowres"]["features"] = [30, 60, 120]
    (tmp_path / "FewPlans.json").write_text(json.dumps(changed))
    with pytest.raises(PlanError, match=r"features are 3 numbers, but the patch \[128, 128, 128\] has 6 stages"):
        plan_dataset(220, load_preset(str(tmp_path / "FewPlans.json")))


@pytest.mark.parametrize(
    "change", [{"resampling": {"data": 1, "seg": 1, "probabilities": 1}}, {"intensity": {"mean": 1}}]
)
def test_arrays_of_other_intensities_or_interpolation_are_stale_too(converted, tmp_path, change):
    plans_file, _ = plan_dataset(220, load_preset("KiTSDemoPlans"))
    (plans_file.parent / "KiTSDemoPlans_3d_fullres").mkdir()
    changed = json.loads((PRESETS_FOLDER / "KiTSDemoPlans.json").read_text())
    (changed if "intensity" in change else changed["configurations"]["3d_fullres"]).update(change)
    (tmp_path / "KiTSDemoPlans.json").write_text(json.dumps(changed))
    assert plan_dataset(220, load_preset(str(tmp_path / "KiTSDemoPlans.json")))[1] == ["3d_fullres"]


def test_georges_2d_plan_is_that_of_nnunets_planner_for_the_papers_values(converted, monkeypatch):
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    fingerprint = converted / "nnUNet_preprocessed" / DATASET / "dataset_fingerprint.json"
    papers = {"spacings": [[0.78] * 3] * 3, "shapes_after_crop": [[528, 512, 512]] * 3}
    fingerprint.write_text(json.dumps(json.loads(fingerprint.read_text()) | papers))
    ours = read(plan_dataset(220, load_preset("KiTSGeorge2DPlans"))[0])["2d"]  # of another fingerprint than the rest
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # 0 stops the stock planner
    stock = ExperimentPlanner(220)
    stock.UNet_base_num_features, stock.UNet_max_features_2d = 30, 480
    theirs = stock.get_plans_for_configuration([0.78, 0.78], [512, 512], "2d", 528 * 512**2 * 489, {})
    theirs = json.loads(json.dumps({**theirs, "median_image_size_in_voxels": [512, 512]}, default=int))
    for key in set(theirs) - {"data_identifier"}:
        assert ours[key] == theirs[key], key


@pytest.mark.parametrize("name", ["KiTSChenJin2DPlans", "KiTSBeheshtifard2DPlans"])
def test_two_dimensional_presets_are_planned_in_the_plane(converted, name):
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    flat = PlansManager(planned(name)).get_configuration("2d")
    assert len(flat.patch_size) == len(flat.spacing) == 2
    assert flat.network_arch_init_kwargs["conv_op"] == "torch.nn.modules.conv.Conv2d"
    assert flat.configuration["median_image_size_in_voxels"] == [pytest.approx(0.8 * 512 / flat.spacing[0], abs=1)] * 2


@pytest.mark.parametrize(("name", "configuration"), [("KiTSZhangPlans", "3d_fullres"), ("KiTSGeorge2DPlans", "2d")])
def test_stock_preprocessing_takes_the_plans_of_papers_and_ours_gives_the_same_arrays(converted, name, configuration):
    _, found, expected = preprocessed(load_preset(name), configuration)
    assert found[0].shape == expected[0].shape
    assert np.abs(found[0] - expected[0]).max() < 1e-4
    assert np.array_equal(found[1], expected[1])


def test_linear_interpolation_is_that_of_scipy_over_all_axes_however_thick_the_slices_are(converted):
    from scipy.ndimage import zoom

    data, found, _ = preprocessed(load_preset("KiTSZhangPlans"), "3d_fullres", spacing=(10.0, 0.9, 0.9))
    linear = zoom(data[0].clip(-79, 304), np.divide(found[0].shape[1:], data.shape[1:]), order=1, mode="nearest",
                  grid_mode=True)  # fmt: skip
    assert np.abs(found[0][0] - (linear - 101) / 76.9).max() < 1e-4


@pytest.mark.parametrize("name", ["KiTSChenZhangFinePlans", "KiTSBeheshtifardTumorPlans"])
def test_a_preset_without_resampling_leaves_every_voxel_where_it_is(converted, name):
    preset = load_preset(name)
    (configuration,) = preset.configurations
    data, found, expected = preprocessed(preset, configuration)
    low, high, mean, std = (-200, 400, 100, 300) if preset.hu_window else (-32768, 32767, 0.664, 4.725)
    for image, labels, _ in (found, expected):
        assert np.abs(image - (data.clip(low, high) - mean) / std).max() < 1e-4
        assert np.array_equal(labels[0], data[0] > 300)


def preprocessed(preset, configuration, spacing=(2.5, 0.8, 0.8)):
    """HU (1, z, y, x), and what our preprocessing and stock's make of them, where HU above 300 have label 1.

    The plans are the preset's but for the network, whose sizing takes long and does not matter here.
    """
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_kits.preprocessing.preprocessor import FastPreprocessor

    planner = PresetPlanner(220, preset)
    planner.UNet_max_features_3d = planner.UNet_max_features_2d = 4
    with _some_augmentation_processes():
        manager = PlansManager(json.loads(json.dumps(planner.plan_experiment())))
    random = np.random.default_rng(0)
    data = np.kron(random.integers(-1000, 1000, (1, 5, 9, 8)), np.ones((1, 2, 4, 4))).astype(np.float32)
    arguments = (manager, manager.get_configuration(configuration), dataset_json())
    found, expected = (
        kind.run_case_npy(data.copy(), (data > 300).astype(np.float32), {"spacing": list(spacing)}, *arguments)
        for kind in (FastPreprocessor(), DefaultPreprocessor(verbose=False))
    )
    return data, found, expected


PAPERS = {
    "ZhangPlainUNetTrainer": ("3d_fullres_plain", 3, 29_693_593, [30, 60, 120, 240, 320, 320], (16, 32, 32)),
    "ZhangResUNetTrainer": ("3d_fullres", 3, 35_477_667, [24, 48, 96, 192, 320, 320], (16, 32, 32)),
    "ZhangPreActResUNetTrainer": ("3d_fullres", 3, 35_477_667, [24, 48, 96, 192, 320, 320], (16, 32, 32)),
    "BeheshtifardResNet34Trainer": ("2d", 1, 24_430_097, None, (32, 32)),  # that library's, of one channel
    "BeheshtifardUNetTrainer": ("2d", 1, None, [64, 128, 256, 512, 1024], (16, 16)),
    "ChenJinUNetTrainer": ("2d", 3, 12_291_123, [20, 40, 80, 160, 320, 640], (32, 32)),
    "GeorgeCascadeTrainer": ("3d_fullres", 4, None, [30, 60, 120, 240, 320, 320], (32, 32, 32)),
    "GeorgeUNet2DTrainer": ("2d", 4, None, [30, 60, 120, 240, 480, 480, 480, 480], (128, 128)),
    "ChenZhangCoarseTrainer": ("3d_fullres", 2, 15_175_656, [32, 64, 128, 256], (16, 16, 16)),
    "ChenZhang25DTrainer": ("3d_fullres", 4, 14_397_296, [32, 64, 128, 256], (1, 16, 16)),
}
"""Trainer -> configuration of its preset, classes, parameters, features of its resolutions, the input by the lowest."""


@pytest.mark.parametrize("trainer", PAPERS)
def test_each_papers_network_is_built_from_its_preset(converted, trainer):
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_kits.training.trainers import trainer_class

    name, classes, parameters, features, factors = PAPERS[trainer]
    if "ResNet34" in trainer:
        pytest.importorskip("segmentation_models_pytorch", reason="the extra smp is not installed")
    manager = PlansManager(planned(PUBLISHED[trainer].plans))
    configuration = manager.get_configuration(name)
    with torch.device("meta"):
        network = trainer_class(trainer).build_network_architecture(manager, configuration, 1, classes, False)
        seen = []
        for module in network.encoder.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)):
                module.register_forward_hook(lambda _, given, found: seen.append(tuple(found.shape[1:])))
        forward = type(network).forward  # the class's: autocast, which a trainer may switch off, knows no meta device
        answer = forward(network, torch.empty(1, 1, *configuration.patch_size))
    assert answer.shape == (1, classes, *configuration.patch_size)
    if parameters is not None:
        assert sum(weights.numel() for weights in network.parameters()) == parameters
    lowest = min((shape[1:] for shape in seen), key=np.prod)
    assert tuple(np.divide(configuration.patch_size, lowest)) == factors
    if features is not None:
        widths = {shape[1:]: shape[0] for shape in seen}  # of the last convolution at each resolution
        assert [widths[shape] for shape in sorted(widths, key=np.prod, reverse=True)] == features
