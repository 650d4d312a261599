import json
import re

import pytest

from nnunet_kits.errors import PlanError, TrainingError
from nnunet_kits.planning.presets import PRESETS_FOLDER, load_preset, preset_names, training_commands
from nnunet_kits.training.names import parse_trainer_name
from nnunet_kits.training.published import PUBLISHED
from nnunet_kits.training.settings import TrainingSettings, training_settings


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_names_its_source(name):
    preset = load_preset(name)
    assert preset.name == name
    assert name.startswith("KiTS")
    assert name.endswith("Plans")
    assert preset.source
    for configuration_name, configuration in preset.configurations.items():
        training_settings(configuration, configuration_name)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_names_a_trainer_of_its_system_for_every_configuration(name):
    preset = load_preset(name)
    assert set(preset.trainers) == set(preset.configurations)
    for trainer in preset.trainers.values():
        published = parse_trainer_name(trainer).published
        if published:
            authors = re.split(",| and ", preset.source)[0]
            assert PUBLISHED[published].source.startswith(authors)
        else:
            assert name in (
                "KiTSCascadePlans",
                "KiTSResEncLPlans",
                "KiTSDemoPlans",
                "KiTSCoarsePlans",
                "KiTSKidneyRegionPlans",
            )
            # which are for any network, or ours


@pytest.mark.parametrize("trainer", PUBLISHED)
def test_the_preset_of_every_published_system_is_there_and_is_for_its_dimensions(trainer):
    preset = load_preset(PUBLISHED[trainer].plans)
    own = [given for given in preset.configurations.values() if "patch_size" in given]
    assert {len(given["patch_size"]) for given in own} == {PUBLISHED[trainer].dimensions}
    baseline = {"BeheshtifardUNetTrainer", "ZhangPreActResUNetTrainer", "GeorgeCascadeTrainer"}  # beside another
    assert trainer in baseline or trainer in preset.trainers.values()


def test_plans_of_no_preset_go_with_the_residual_unet():
    plain = {"3d_fullres": {}}
    for plans, trainer in (("KiTSZhangPlans", "ZhangResUNetTrainer"), ("nnUNetPlans", "ResUNetTrainer")):
        assert training_commands(7, plans, plain) == [f"nnUNetv2_train 7 3d_fullres 0 -p {plans} -tr {trainer}"]


def test_a_cascade_is_told_where_its_low_resolution_is_and_the_low_resolution_first():
    configurations = {
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        "3d_fullres": {},
        "3d_lowres": {"next_stage": "3d_cascade_fullres"},
    }
    told = training_commands(7, "nnUNetPlans", configurations, {"3d_lowres": "PlainUNetTrainer"})
    assert told == [
        "nnUNetv2_train 7 3d_lowres 0 -p nnUNetPlans -tr PlainUNetTrainer",
        "nnunet_kits cascade -d 7 -p nnUNetPlans -tr ResUNetTrainer",
        "nnUNetv2_train 7 3d_fullres 0 -p nnUNetPlans -tr ResUNetTrainer",
    ]
    del configurations["3d_lowres"]
    assert len(training_commands(7, "nnUNetPlans", configurations)) == 1


def test_the_cascade_preset_says_what_george_2021_says():
    preset = load_preset("KiTSCascadePlans")
    low, full = preset.configurations["3d_lowres"], preset.configurations["3d_fullres"]
    assert low["spacing_zyx_mm"] == [1.99] * 3
    assert full["spacing_zyx_mm"] == [0.78] * 3
    assert low["patch_size"] == full["patch_size"] == [128] * 3
    assert low["batch_size"] == full["batch_size"] == 2
    assert (preset.features_first, preset.features_max) == (30, 320)


def test_the_presets_of_the_papers_say_what_the_papers_say():
    zhang = load_preset("KiTSZhangPlans").configurations["3d_fullres"]
    assert (zhang["spacing_zyx_mm"], zhang["patch_size"]) == ([3.22, 1.62, 1.62], [80, 160, 160])
    assert zhang["batch_size"] == 2 * (1 + 2)
    assert zhang["strides"] == [[1, 1, 1], [1, 2, 2]] + [[2, 2, 2]] * 4
    assert load_preset("KiTSZhangPlans").intensity == {"clip_hu": [-79, 304], "mean": 101, "std": 76.9}
    for name in ("KiTSChenZhang25DPlans", "KiTSChenZhangFinePlans"):
        fine = load_preset(name).configurations["3d_fullres"]
        assert fine["patch_size"] == [48, 224, 384]
        assert fine["strides"] == [[1, 1, 1]] + [[1, 2, 2]] * 4
        assert fine["features"][1:] == [32, 64, 128, 256]
        assert (fine["batch_size"], load_preset(name).hu_window) == (4, [-200, 400])
    coarse = load_preset("KiTSChenZhangCoarsePlans").configurations["3d_fullres"]
    assert (coarse["patch_size"], coarse["batch_size"]) == ([128] * 3, 4)
    assert load_preset("KiTSChenJin2DPlans").intensity == {"clip_hu": [-75.757, 349.489]}
    kidney, tumor = (load_preset(f"KiTSBeheshtifard{phase}Plans") for phase in ("Kidney", "Tumor"))
    assert kidney.intensity == {"clip_hu": [0, 200], "mean": 16.65, "std": 35.98}
    assert tumor.intensity == {"clip_hu": None, "mean": 0.664, "std": 4.725}
    for phase in (kidney, tumor):
        assert (phase.configurations["2d"]["patch_size"], phase.configurations["2d"]["batch_size"]) == ([512] * 2, 128)
        assert phase.configurations["2d"]["resampling"] == "none"
        assert len(phase.configurations["2d"]["strides"]) == 5  # "U-Net with 5 layers"
    slices = load_preset("KiTSChenJin2DPlans")
    assert slices.features_first * 2 ** (len(slices.configurations["2d"]["strides"]) - 1) == slices.features_max == 640
    assert slices.configurations["2d"]["batch_size"] == 7
    assert load_preset("KiTSBeheshtifard2DPlans").configurations["2d"]["batch_size"] == 128


def changed(tmp_path, change):
    content = json.loads((PRESETS_FOLDER / "KiTSCascadePlans.json").read_text())
    change(content)
    file = tmp_path / "Changed.json"
    file.write_text(json.dumps(content))
    return str(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("source"), "lacks source"),
        (lambda c: c.update(colour=1), "has unknown colour"),
        (lambda c: c["trainers"].update({"4d": "ResUNetTrainer"}), "trainers names '4d', which the preset does not"),
        (lambda c: c["configurations"]["3d_lowres"].update(patchsize=1), "configuration 3d_lowres: has unknown patch"),
        (lambda c: c["configurations"]["3d_lowres"].update(patch_size=[1]), "must be three positive numbers"),
        (lambda c: c["configurations"]["3d_lowres"].update(patch_size=[8, 8]), "must have as many numbers"),
        (
            lambda c: c["configurations"]["3d_lowres"].update(strides=[[1, 1, 1]]),
            "strides and kernel_sizes go together",
        ),
        (lambda c: c.update(planner="ResEnc"), "no planner 'ResEnc'. Allowed: ExperimentPlanner, nnUNetPlannerResEncL"),
        (lambda c: c.update(planner="nnUNetPlannerResEncL"), "has unknown patch_size, batch_size"),
        (lambda c: c.update(hu_window=[400, -200]), "must be the lowest and the highest HU"),
        (lambda c: c["configurations"]["3d_lowres"].update(spacing_zyx_mm=[1, 0, 1]), "must be three positive"),
        (lambda c: c["configurations"]["3d_lowres"].update(next_stage="4d"), "next_stage names '4d'"),
        (lambda c: c["configurations"]["3d_lowres"].update(max_stages=2), "max_stages is 2, but deep supervision"),
        (lambda c: c["configurations"]["3d_cascade_fullres"].update(inherits_from="x"), "inherits_from names 'x'"),
        (lambda c: c.update(intensity={"clip": [0, 1]}), "intensity: has unknown clip. Allowed: clip_hu, mean, std"),
        (
            lambda c: c.update(intensity={"clip_hu": [5, 1]}),
            r"clip_hu of intensity is \[5, 1\], but must be the lowest",
        ),
        (lambda c: c.update(intensity={"std": 0}), "std of intensity is 0, but must be a positive number"),
        (lambda c: c.update(intensity={"mean": "low"}), "mean of intensity is 'low', but must be a number"),
        (lambda c: c.update(intensity=[0, 1]), r"intensity is \[0, 1\], but must be an object with clip_hu, mean, std"),
        (lambda c: c.update(hu_window=400), "hu_window is 400, but must be the lowest and the highest HU"),
        (lambda c: c.update(intensity={"mean": 0}, hu_window=[0, 1]), "hu_window and intensity both say"),
        (
            lambda c: c["configurations"]["3d_lowres"].update(features=[30, 0]),
            r"features is \[30, 0\], but must be a list",
        ),
        (
            lambda c: c["configurations"]["3d_lowres"].update(resampling="linear"),
            "resampling is 'linear', but must be 'n",
        ),
        (
            lambda c: c["configurations"]["3d_lowres"].update(resampling={"data": 1, "seg": 3, "probabilities": 1}),
            "orders of the splines for data, seg, probabilities: 0 to 5, for seg 0 or 1",
        ),
        (lambda c: c["configurations"]["3d_lowres"].update(resampling="none"), "has unknown spacing_zyx_mm"),
        (lambda c: c["configurations"]["3d_lowres"].pop("spacing_zyx_mm"), "lacks spacing_zyx_mm"),
    ],
)
def test_a_preset_with_a_wrong_key_or_value_is_refused(tmp_path, change, message):
    with pytest.raises(PlanError, match=message):
        load_preset(changed(tmp_path, change))


def test_unknown_presets_and_broken_files_are_refused(tmp_path):
    with pytest.raises(PlanError, match=rf"no preset 'KiTSNoPlans'\. Known: {', '.join(preset_names())};"):
        load_preset("KiTSNoPlans")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(PlanError, match="not a JSON file"):
        load_preset(str(tmp_path / "a.json"))
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(PlanError, match="a preset is a JSON object, not a list"):
        load_preset(str(tmp_path / "b.json"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 3}, "has no setting 'epochs'. Allowed: num_iterations_per_epoch"),
        ({"save_every": 0}, "save_every is 0, but must be a positive int"),
        ({"save_every": True}, "save_every is True"),
        ({"initial_lr": "fast"}, "initial_lr is 'fast', but must be a positive float"),
        ({"oversample_foreground_percent": 1.5}, "is a share of the batch, from 0 to 1"),
        ({"mirror_axes": [3]}, r"mirror_axes is \[3\], but must be a list of 0, 1, 2"),
        ({"num_iterations_per_epoch": 2.5}, "must be a positive int"),
    ],
)
def test_a_wrong_training_setting_in_the_plans_is_refused(settings, message):
    with pytest.raises(TrainingError, match=message):
        training_settings({"kits_training": settings}, "3d_lowres")


@pytest.mark.parametrize("key", ["mirror_axes", "prediction_mirror_axes"])
def test_a_2d_configuration_has_no_third_axis_to_mirror(key):
    flat = {"patch_size": [64, 64], "kits_training": {key: [0, 2]}}
    with pytest.raises(TrainingError, match=rf"{key} is \[0, 2\], but 2d has patches of 2 dimensions.*0, 1"):
        training_settings(flat, "2d")
    assert training_settings({**flat, "patch_size": [64, 64, 64]}, "3d_fullres") == TrainingSettings(**{key: [0, 2]})
