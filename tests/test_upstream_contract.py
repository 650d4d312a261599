"""One test per assumption about nnU-Net that this package leans on. When nnU-Net changes, these say where."""

import ast
import functools
import inspect
import json
import re
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import nnunetv2
import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from small_plans import REGIONS, architecture, cascade_plans, configuration, dataset_json, plans, write_fingerprint

CPU = torch.device("cpu")


def test_the_pinned_version_is_installed():
    assert version("nnunetv2").startswith("2.8.")


NAMED = {
    r"(no_)?resampl\w*_(shape|hack|fornnunet)": "preprocessing.resampling",
    r"\w+Normalization": "preprocessing.normalization",
    r"\w+Preprocessor": "preprocessing.preprocessors",
    r"\w+IO(WithReorient)?": "imageio",
    r"\w*Planner": "experiment_planning.experiment_planners",
    r"\w*LabelManager": "utilities.label_handling",
}
"""What the names of nnU-Net's that plans hold look like, and where nnU-Net searches for them."""


def names_of_nnunets():
    """(where nnU-Net searches, name) of all that this package's code and presets name of what plans may hold."""
    package = Path(__file__).resolve().parents[1] / "nnunet_kits"
    strings = {
        node.value
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    strings |= {word for file in package.rglob("*.json") for word in re.findall(r'"(\w+)"', file.read_text("utf-8"))}
    return sorted((place, name) for name in strings for like, place in NAMED.items() if re.fullmatch(like, name))


def test_names_of_every_kind_are_looked_for():
    assert {place for place, _ in names_of_nnunets()} == set(NAMED.values())


@pytest.mark.parametrize(("place", "name"), names_of_nnunets())
def test_everything_that_we_name_of_what_plans_hold_is_there(place, name):
    folder = Path(nnunetv2.__path__[0], *place.split("."))
    assert recursive_find_python_class(str(folder), name, f"nnunetv2.{place}") is not None


def test_no_resampling_leaves_an_array_as_it_is_and_takes_no_arguments():
    found = configuration(resampling_fn_data="no_resampling_hack", resampling_fn_data_kwargs={})
    manager = PlansManager(plans(**{"3d_fullres": found})).get_configuration("3d_fullres")
    array = np.zeros((1, 2, 3, 4))
    assert manager.resampling_fn_data(array, (5, 6, 7), (1, 1, 1), (2, 2, 2)) is array


def test_folders_are_read_from_the_environment_when_used(nnunet, monkeypatch):
    from nnunetv2.paths import nnUNet_raw

    assert str(nnUNet_raw) == str(nnunet / "nnUNet_raw")
    monkeypatch.setenv("nnUNet_raw", "/elsewhere")
    assert str(nnUNet_raw) == "/elsewhere"


def test_a_trainer_of_nnunets_own_tree_wins_over_an_external_one(nnunet, tmp_path, monkeypatch):
    (tmp_path / "ext").mkdir()
    (tmp_path / "ext" / "contract_trainers.py").write_text("nnUNetTrainer_5epochs = 'external'")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "ext"))
    assert recursive_find_trainer_class_by_name("nnUNetTrainer_5epochs").__module__.startswith("nnunetv2.")


def test_external_modules_are_asked_with_hasattr_and_forgotten_afterwards(nnunet):
    assert recursive_find_trainer_class_by_name("ResUNetTrainer").__module__ == "nnunet_kits.training.trainers"
    assert "nnunet_kits_trainers" not in sys.modules
    assert "nnunet_kits.training.trainers" in sys.modules


def test_several_external_folders_are_searched_in_turn(nnunet, tmp_path, monkeypatch):
    import os

    (tmp_path / "other").mkdir()
    shim = os.environ["nnUNet_extTrainer"]
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join([str(tmp_path / "other"), shim]))
    assert recursive_find_trainer_class_by_name("PlainUNetTrainer").__name__ == "PlainUNetTrainer"


def test_the_trainers_signature_is_ours():
    from nnunet_kits.training.base import KitsTrainer

    assert list(inspect.signature(KitsTrainer.__init__).parameters) == list(
        inspect.signature(nnUNetTrainer.__init__).parameters
    )
    assert list(inspect.signature(KitsTrainer.build_network_architecture).parameters) == list(
        inspect.signature(nnUNetTrainer.build_network_architecture).parameters
    )


@pytest.mark.parametrize("continues", [True, False])
def test_the_trainer_is_told_in_the_plans_whether_it_continues_and_removes_that(nnunet, monkeypatch, continues):
    from nnunetv2.run import run_training

    told = []

    class Recorder(nnUNetTrainer):
        def __init__(self, plans, configuration, fold, dataset_json, device=CPU):
            told.append(plans["continue_training"])
            super().__init__(plans, configuration, fold, dataset_json, device)

    folder = nnunet / "nnUNet_preprocessed" / "Dataset220_KiTS2023"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(dataset_json()))
    (folder / "SmallPlans.json").write_text(json.dumps({**plans(), "continue_training": "not yet known"}))
    monkeypatch.setattr(run_training, "recursive_find_trainer_class_by_name", lambda name: Recorder)
    trainer = run_training.get_trainer_from_args("220", "3d_fullres", 0, "Recorder", "SmallPlans", continues, CPU)
    assert told == [continues]
    assert "continue_training" not in trainer.plans_manager.plans


def test_continuing_picks_a_checkpoint_by_existence_alone(tmp_path):
    from nnunetv2.run.run_training import maybe_load_checkpoint

    class Recorder:
        output_folder = str(tmp_path)

        def load_checkpoint(self, file):
            self.loaded = Path(file).name

    for name in ("checkpoint_best.pth", "checkpoint_latest.pth", "checkpoint_final.pth"):
        (tmp_path / name).write_bytes(b"damaged")
        trainer = Recorder()
        maybe_load_checkpoint(trainer, True, False)
        assert trainer.loaded == name


def test_the_lowest_deep_supervision_output_has_weight_zero(nnunet):
    trainer = nnUNetTrainer(plans(), "3d_fullres", 0, dataset_json(), device=CPU)
    assert trainer._build_loss().weight_factors == pytest.approx((2 / 3, 1 / 3, 0))


@pytest.fixture
def trainer(nnunet):
    """nnU-Net's own trainer, not initialised yet, with an array in its folder by which it knows the dataset's class."""
    made = nnUNetTrainer(plans(), "3d_fullres", 0, dataset_json(), device=CPU)
    folder = Path(made.preprocessed_dataset_folder)
    folder.mkdir(parents=True)
    (folder / "case.b2nd").touch()
    return made


def test_the_scheduler_is_stepped_with_the_epoch(trainer):
    trainer.initialize()
    steps = []
    trainer.lr_scheduler = SimpleNamespace(step=steps.append)
    trainer.current_epoch = 7
    trainer.on_train_epoch_start()
    assert steps == [7]


def test_networks_are_located_by_dotted_path_and_get_channels_classes_and_supervision(nnunet):
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    given = architecture()["arch_kwargs"]
    topology = {key: given[key] for key in ("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides")}
    network = get_network_from_plans(
        "nnunet_kits.architectures.residual.ResUNet", topology, ["conv_op"], 2, 3, deep_supervision=False
    )
    assert network(torch.zeros(1, 2, 16, 24, 24)).shape == (1, 3, 16, 24, 24)


def test_configurations_inherit_shallowly_and_unknown_keys_survive():
    given = cascade_plans()
    given["configurations"]["3d_fullres"]["kits_training"] = {"save_every": 2}
    cascade = PlansManager(given).get_configuration("3d_cascade_fullres").configuration
    assert cascade["kits_training"] == {"save_every": 2}
    assert cascade["data_identifier"] == "SmallPlans_3d_fullres"


def test_cascade_predictions_lie_below_the_same_trainer_and_plans(nnunet):
    trainer = nnUNetTrainer(cascade_plans(), "3d_cascade_fullres", 0, dataset_json(), device=CPU)
    assert trainer.folder_with_segs_from_previous_stage == str(
        nnunet / "nnUNet_results" / "Dataset220_KiTS2023" / "nnUNetTrainer__SmallPlans__3d_lowres"
        / "predicted_next_stage" / "3d_cascade_fullres"
    )  # fmt: skip


def test_a_cascade_prediction_is_one_b2nd_file_of_the_full_resolution_shape(tmp_path):
    import blosc2
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    nnUNetDatasetBlosc2.save_seg(np.zeros((4, 5, 6), np.uint8), str(tmp_path / "case_00001"))
    assert [p.name for p in tmp_path.iterdir()] == ["case_00001.b2nd"]
    assert blosc2.open(urlpath=str(tmp_path / "case_00001.b2nd"), mode="r").shape == (4, 5, 6)


def test_planners_copy_the_raw_splits_and_the_api_takes_a_partial(nnunet):
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiment_dataset

    raw, preprocessed = (nnunet / name / "Dataset220_KiTS2023" for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    for folder in (raw / "imagesTr", raw / "labelsTr", preprocessed):
        folder.mkdir(parents=True)
    (raw / "dataset.json").write_text(json.dumps(dataset_json()))
    (raw / "splits_final.json").write_text('[{"train": ["a"], "val": ["b"]}]')
    (preprocessed / "dataset_fingerprint.json").write_text("{}")

    class Planner(ExperimentPlanner):
        def __init__(self, *arguments, extra, **options):
            super().__init__(*arguments, **options)
            self.extra = extra

        def plan_experiment(self):
            return {"extra": self.extra, "memory": self.UNet_vram_target_GB}

    planner = functools.partial(Planner, extra=5)
    assert plan_experiment_dataset(220, planner, 24) == ({"extra": 5, "memory": 24}, "nnUNetPlans")
    assert json.loads((preprocessed / "splits_final.json").read_text()) == [{"train": ["a"], "val": ["b"]}]


def test_regions_are_written_in_class_order_later_ones_over_earlier_ones():
    manager = PlansManager(plans()).get_label_manager(dataset_json(REGIONS))
    logits = torch.full((3, 1, 1, 4), -5.0)
    logits[0, 0, 0, 1:] = 5  # kidney_and_mass
    logits[1, 0, 0, 2:] = 5  # mass
    logits[2, 0, 0, 3:] = 5  # tumor
    assert manager.convert_logits_to_segmentation(logits).flatten().tolist() == [0, 1, 3, 2]


def test_the_reader_of_our_datasets_gives_z_y_x_for_the_challenges_axes(tmp_path):
    import nibabel as nib
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient

    affine = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [-3, 0, 0, 0], [0, 0, 0, 1.0]])  # IPL, 3 mm slices first
    nib.save(nib.Nifti1Image(np.zeros((4, 6, 8), np.int16), affine), tmp_path / "a.nii.gz")
    data, properties = NibabelIOWithReorient().read_images([str(tmp_path / "a.nii.gz")])
    assert data.shape == (1, 4, 6, 8)
    assert properties["spacing"] == [3.0, 1.0, 1.0]


def test_a_preprocessed_folder_must_hold_one_kind_of_array(tmp_path):
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    (tmp_path / "a.b2nd").touch()
    assert infer_dataset_class(str(tmp_path)).__name__ == "nnUNetDatasetBlosc2"
    (tmp_path / "a.json").touch()
    with pytest.raises(AssertionError):
        infer_dataset_class(str(tmp_path))


def test_our_small_plans_state_what_the_plans_of_nnunets_planner_state(nnunet, monkeypatch):
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # the planner's threads
    write_fingerprint(nnunet, 1, [3.0, 2.0, 2.0], [16, 24, 24])
    theirs = ExperimentPlanner(220).plan_experiment()
    assert {*plans()} - {"continue_training"} == {*theirs}
    assert {*configuration()} == {*theirs["configurations"]["3d_fullres"]}
    assert {*architecture()} == {*theirs["configurations"]["3d_fullres"]["architecture"]}


def test_a_loader_draws_the_cases_then_asks_for_each_in_turn_whether_it_must_show_foreground_and_for_its_box(small):
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
    from small_data import CASES, FORMS

    calls = []

    class Recorder(nnUNetDataLoader):
        def get_indices(self):
            calls.append("cases")
            return super().get_indices()

        def _oversample_last_XX_percent(self, sample_idx):
            calls.append(sample_idx)
            return super()._oversample_last_XX_percent(sample_idx)

        def get_bbox(self, data_shape, force_fg, class_locations, **more):
            calls.append(force_fg)
            assert set(class_locations) == {1, 2, 3}
            assert class_locations[2].shape[1] == 4
            return super().get_bbox(data_shape, force_fg, class_locations, **more)

    def transforms(image, segmentation):  # a result of any shape is a sample of the batch
        return {"image": image[None], "segmentation": [segmentation[None], segmentation[None]]}

    folder = small / "nnUNet_preprocessed" / FORMS["classes"][0] / "Small_3d_fullres"
    dataset = nnUNetDatasetBlosc2(str(folder), list(CASES))
    labels = PlansManager(plans()).get_label_manager(dataset_json())
    loader = Recorder(dataset, 3, (4, 5, 6), (4, 5, 6), labels, 1 / 3, transforms=transforms)
    batch = next(loader)
    assert calls == ["cases", 0, False, 1, False, 2, True]
    assert batch["data"].shape == batch["target"][1].shape == (3, 1, 1, 4, 5, 6)


def test_class_locations_have_a_key_per_label_or_region_and_one_with_minus_one_for_what_is_annotated():
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    segmentation = np.zeros((1, 2, 3, 4), np.int8)
    segmentation[0, 1, 1, 1] = 2
    found = DefaultPreprocessor._sample_foreground_locations(segmentation, [(1, 2, 3), 2, 3, [-1, 0, 1, 2, 3]])
    assert found[1, 2, 3].tolist() == found[2].tolist() == [[0, 1, 1, 1]]
    assert len(found[3]) == 0
    assert len(found[-1, 0, 1, 2, 3]) == 24


def test_the_loop_begins_every_epoch_with_on_epoch_start_and_ends_with_on_train_end():
    done = []

    class Recorder:
        current_epoch, num_epochs, num_iterations_per_epoch, num_val_iterations_per_epoch = 0, 2, 0, 0

        def __getattr__(self, name):
            return lambda *_: done.append(name)

    nnUNetTrainer.run_training(Recorder())
    assert done[:2] == ["on_train_start", "on_epoch_start"]
    assert done[done.index("on_epoch_end") :][:2] == ["on_epoch_end", "on_epoch_start"]
    assert done[-2:] == ["on_epoch_end", "on_train_end"]


def test_checkpoints_hold_every_logged_loss_and_the_number_of_the_next_epoch(trainer):
    trainer.initialize()
    trainer.logger.log("train_losses", 0.5, 0)
    trainer.logger.log("val_losses", 0.25, 0)
    file = Path(trainer.output_folder) / "checkpoint_latest.pth"
    trainer.save_checkpoint(str(file))
    checkpoint = torch.load(file, weights_only=False)
    assert (checkpoint["current_epoch"], trainer.current_epoch) == (1, 0)
    assert checkpoint["logging"]["train_losses"] == trainer.logger.get_value("train_losses", step=None) == [0.5]


def test_an_epoch_is_counted_after_its_checkpoints_are_written(trainer):
    written = []
    trainer.save_checkpoint = lambda file: written.append((Path(file).name, trainer.current_epoch))
    trainer.save_every, trainer.local_rank = 1, 1  # no picture is drawn
    for name, value in (("epoch_start_timestamps", 0.0), ("train_losses", 0.5), ("val_losses", 0.5)):
        trainer.logger.log(name, value, 0)
    trainer.logger.log("mean_fg_dice", 0.5, 0)
    trainer.logger.log("dice_per_class_or_region", [0.5], 0)
    trainer.on_epoch_end()
    assert written == [("checkpoint_latest.pth", 0), ("checkpoint_best.pth", 0)]
    assert trainer.current_epoch == 1


def test_losses_are_gathered_from_all_processes_before_they_are_logged_by_each(trainer, monkeypatch):
    def gather(losses, mine):
        losses[:] = [mine, mine + 2]

    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    logged = {}
    trainer.logger = SimpleNamespace(log=lambda name, value, epoch: logged.update({name: value}))
    trainer.is_ddp, trainer.local_rank = True, 1
    counts = {name: np.ones(3) for name in ("tp_hard", "fp_hard", "fn_hard")}
    trainer.on_train_epoch_end([{"loss": np.array(1.0)}, {"loss": np.array(3.0)}])
    trainer.on_validation_epoch_end([{"loss": np.array(2.0), **counts}, {"loss": np.array(4.0), **counts}])
    assert (logged["train_losses"], logged["val_losses"]) == (3.0, 4.0)  # of 1, 3, 3, 5 and of 2, 4, 4, 6


def test_an_iteration_takes_the_loss_of_one_pass_from_the_trainers_attribute(trainer):
    passes, losses = [], []

    def loss(output, target):
        losses.append((output, target))
        return (output**2).mean()

    network = torch.nn.Conv3d(1, 2, 1)
    network.register_forward_hook(lambda module, inputs, output: passes.append((inputs[0], output)))
    trainer.network, trainer.loss = network, loss
    trainer.optimizer = torch.optim.SGD(network.parameters(), 0.1)
    batch = {"data": torch.ones(1, 1, 2, 2, 2), "target": [torch.zeros(1), torch.ones(1)]}
    found = trainer.train_step(batch)["loss"]
    ((data, output),) = passes
    ((given, target),) = losses
    assert data is batch["data"]
    assert given is output
    assert target == batch["target"]
    assert found == pytest.approx(float((output**2).mean().detach()))


def test_the_batch_is_shared_out_before_the_network_is_built_and_the_loss_comes_last(trainer):
    calls = []

    def recording(name):
        real = getattr(trainer, name)

        @functools.wraps(real)
        def call(*arguments):
            calls.append(name)
            return real(*arguments)

        return call

    steps = ("_set_batch_size_and_oversample", "build_network_architecture", "configure_optimizers", "_build_loss")
    for name in reversed(steps):
        setattr(trainer, name, recording(name))
    trainer.initialize()
    assert calls == list(steps)


def test_a_trainer_is_initialised_by_the_checkpoint_that_it_loads_before_the_file_is_read(trainer):
    assert not trainer.was_initialized
    with pytest.raises(FileNotFoundError):
        trainer.load_checkpoint(str(Path(trainer.output_folder) / "none.pth"))
    assert trainer.was_initialized
