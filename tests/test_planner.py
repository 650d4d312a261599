"""Plans written by nnU-Net's planner from a preset, on a dataset that consists of its fingerprint alone."""

import json

import pytest
from small_plans import write_fingerprint

from nnunet_kits.cli.main import main, parser
from nnunet_kits.errors import PlanError
from nnunet_kits.planning.planner import plan_dataset
from nnunet_kits.planning.presets import PRESETS_FOLDER, load_preset, preset_names
from nnunet_kits.preprocessing.dataset import Outcome
from nnunet_kits.training.names import parse_trainer_name

DATASET = "Dataset220_KiTS2023"


@pytest.fixture
def converted(nnunet):
    """Raw folder and fingerprint of a dataset whose cases are all 200 x 512 x 512 of 2.5 x 0.8 x 0.8 mm."""
    raw, _ = write_fingerprint(nnunet, 3, [2.5, 0.8, 0.8], [200, 512, 512])
    (raw / "splits_final.json").write_text('[{"train": ["a"], "val": ["b"]}]')
    return nnunet


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
    last = next_commands(capsys.readouterr().out)[-1]
    assert last == "nnUNetv2_train 220 3d_fullres 0 -p Mine -tr PlainUNetTrainer_20epochs"


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
    for configuration in read(plan_dataset(220, load_preset(name))[0]).values():
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


def test_a_patch_that_its_strides_do_not_divide_is_refused_with_one_that_they_do(converted, tmp_path):
    changed = json.loads((PRESETS_FOLDER / "KiTSCascadePlans.json").read_text())
    changed["configurations"]["3d_lowres"]["patch_size"] = [128, 130, 128]
    (tmp_path / "OddPlans.json").write_text(json.dumps(changed))
    with pytest.raises(PlanError, match=r"patch \[128, 130, 128\] is no multiple of its strides \[32, 32, 32\]; the"):
        plan_dataset(220, load_preset(str(tmp_path / "OddPlans.json")))


def test_a_missing_dataset_and_contradicting_splits_are_refused(converted):
    with pytest.raises(PlanError, match=r"there is no complete dataset 221 .* Convert one first: nnunet_kits convert"):
        plan_dataset(221, load_preset("KiTSDemoPlans"))
    (converted / "nnUNet_preprocessed" / DATASET / "splits_final.json").write_text("[]")
    with pytest.raises(PlanError, match=r"splits_final.json differs from .*: the dataset was converted again"):
        plan_dataset(220, load_preset("KiTSDemoPlans"))
    (converted / "nnUNet_raw" / DATASET / "dataset.json").unlink()
    with pytest.raises(PlanError, match=r"Dataset220_KiTS2023 has no dataset.json"):
        plan_dataset(220, load_preset("KiTSDemoPlans"))


def test_a_window_of_hounsfield_units_becomes_minus_one_to_one(converted):
    import numpy as np
    from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization

    plans_file, _ = plan_dataset(220, load_preset("KiTSChenZhang25DPlans"))
    properties = json.loads(plans_file.read_text())["foreground_intensity_properties_per_channel"]["0"]
    image = np.array([-1000.0, -200.0, 100.0, 400.0, 3000.0], np.float32)
    assert CTNormalization(False, properties).run(image).tolist() == [-1, -1, 0, 1, 1]


@pytest.mark.parametrize("name", ["KiTSChenJin2DPlans", "KiTSBeheshtifard2DPlans"])
def test_two_dimensional_presets_are_planned_in_the_plane(converted, name):
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    flat = PlansManager(str(plan_dataset(220, load_preset(name))[0])).get_configuration("2d")
    assert len(flat.patch_size) == len(flat.spacing) == 2
    assert flat.network_arch_init_kwargs["conv_op"] == "torch.nn.modules.conv.Conv2d"
    assert flat.configuration["median_image_size_in_voxels"] == [pytest.approx(0.8 * 512 / flat.spacing[0], abs=1)] * 2
