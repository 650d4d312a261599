"""Checkpoints, and the plans beside them, are data: nothing that stands in them is executed."""

import contextlib
import io
import json
import os
import pathlib
import zipfile

import numpy as np
import pytest
import torch
from small_models import plans_with, write_model_folder
from small_plans import dataset_json, plans

from nnunet_kits import doctor
from nnunet_kits.errors import CheckpointError, InferenceError
from nnunet_kits.inference.model import load_model
from nnunet_kits.training.checkpoint_data import FORCE, FORCE_NOT, data_only, read_checkpoint
from nnunet_kits.training.trainers import trainer_class
from nnunet_kits.training.unpickling import unpickling_commands

CPU = torch.device("cpu")


class Bomb:
    """Leaves a marker when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def good(**changes):
    content = {"network_weights": {"w": torch.arange(3.0)}, "trainer_name": "nnUNetTrainer"}
    return {**content, "init_args": {"configuration": "3d_fullres"}, **changes}


def saved(path, content):
    torch.save(content, path)
    return path


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    """The same checkpoint with another pickle, or packed."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)
    return path


def stock_checkpoint(nnunet):
    """What an unmodified nnUNetTrainer writes in the midst of a training."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    with contextlib.redirect_stdout(io.StringIO()):
        trainer = nnUNetTrainer(plans(), "3d_fullres", 0, dataset_json(), device=CPU)
        folder = pathlib.Path(trainer.preprocessed_dataset_folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "case.b2nd").touch()
        trainer.initialize()
    trainer.network(torch.zeros(1, 1, 16, 24, 24))[0].sum().backward()
    trainer.optimizer.step()  # so that it has a momentum
    for key, value in (("train_losses", np.float32(-0.5)), ("val_losses", np.float64(-0.4)), ("lrs", 0.01)):
        trainer.logger.log(key, value, 0)
    trainer.logger.log("dice_per_class_or_region", [np.float64(0.5), np.float64(np.nan)], 0)
    trainer.logger.log("mean_fg_dice", np.nanmean([0.5, 0.75]), 0)
    path = pathlib.Path(trainer.output_folder) / "checkpoint_best.pth"
    trainer._best_ema = trainer.logger.get_value("ema_fg_dice", step=0)
    trainer.save_checkpoint(str(path))
    return path


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other or (one != one and other != other)


def test_all_that_nnunet_writes_is_read_as_unpickling_would_read_it(nnunet):
    path = stock_checkpoint(nnunet)
    unpickled = torch.load(path, map_location="cpu", weights_only=False)
    assert isinstance(unpickled["_best_ema"], np.float64)  # what torch alone refuses
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=True)
    assert_same(read_checkpoint(path), unpickled)


@pytest.mark.parametrize("core", ["_core", "core"])
def test_numbers_are_read_under_the_names_of_numpy_2_and_numpy_1(tmp_path, core):
    path = saved(tmp_path / "new.pth", good(ema=np.float64(0.25), n=np.int64(7), a=np.array([[1, 2]], ">i2")))
    rewritten(path, lambda pickle: pickle.replace(b"numpy._core", f"numpy.{core}".encode()))
    assert f"numpy.{core}.multiarray".encode() in zipfile.ZipFile(path).read("new/data.pkl")
    found = read_checkpoint(path)
    assert (found["ema"], found["n"], found["a"].tolist()) == (0.25, 7, [[1, 2]])
    assert isinstance(found["ema"], np.float64)


@pytest.mark.parametrize(
    "place",
    [
        lambda bomb: bomb,
        lambda bomb: good(logging=[bomb]),
        lambda bomb: good(array=np.array([bomb], object)),
    ],
)
def test_a_pickle_that_would_run_code_is_refused_by_the_name_of_what_it_asks_for(tmp_path, place):
    path = saved(tmp_path / "checkpoint.pth", place(Bomb(tmp_path / "marker")))
    with pytest.raises(CheckpointError, match=r"checkpoint\.pth: .*asks for (posix|nt)\.mkdir.*--trust"):
        read_checkpoint(path)
    assert not (tmp_path / "marker").exists()
    with pytest.raises(FileNotFoundError):  # the bomb is one: unpickling runs it
        torch.load(saved(path, Bomb(tmp_path / "none" / "marker")), weights_only=False)


def test_predict_runs_nothing_of_a_strangers_checkpoint(nnunet):
    folder = write_model_folder(nnunet / "nnUNet_results", plans_with(), "3d_fullres")
    path = folder / "fold_0" / "checkpoint_final.pth"
    saved(path, {**torch.load(path), "logging": Bomb(nnunet / "marker")})
    with pytest.raises(CheckpointError, match=r"fold_0.*mkdir"):
        load_model(folder, CPU)
    assert not (nnunet / "marker").exists()
    load_model(folder, CPU, trust=True)
    assert (nnunet / "marker").exists()


def test_a_training_goes_on_from_data_alone(nnunet):
    path = stock_checkpoint(nnunet)
    content = torch.load(path, weights_only=False)
    with contextlib.redirect_stdout(io.StringIO()):
        ours = trainer_class("PlannedUNetTrainer")(plans(), "3d_fullres", 0, dataset_json(), device=CPU)
        ours.initialize()
        ours.load_checkpoint(str(path))
        assert (ours.current_epoch, ours._best_ema) == (content["current_epoch"], content["_best_ema"])
        saved(path, {**content, "logging": Bomb(nnunet / "marker")})
        with pytest.raises(CheckpointError, match=r"mkdir.*Go on from a checkpoint"):
            ours.load_checkpoint(str(path))
    assert not (nnunet / "marker").exists()


def test_within_data_only_nnunets_own_reading_refuses_code(tmp_path, monkeypatch):
    monkeypatch.delenv(FORCE, raising=False)
    monkeypatch.setenv(FORCE_NOT, "1")
    path = saved(tmp_path / "bomb.pth", Bomb(tmp_path / "marker"))
    with data_only(), pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=False)
    assert FORCE not in os.environ
    assert os.environ[FORCE_NOT] == "1"
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (good(a=np.array([None])), "numpy.dtype of 'O8'"),
        (good(a=np.zeros(1, "U3")), "numpy.dtype of 'U3'"),
        (good(a=np.zeros(1, [("x", "f4")])), "numpy.dtype of 'V4'"),
        (good(network_weights={"w": 1.0}), "no checkpoint of nnU-Net"),
        (good(init_args=None), "no checkpoint of nnU-Net"),
        ([1, 2], "no checkpoint of nnU-Net"),
    ],
)
def test_other_contents_are_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(CheckpointError, match=message) as raised:
        read_checkpoint(saved(tmp_path / "checkpoint.pth", content))
    assert "\n" not in str(raised.value)


def test_what_more_is_in_a_trusted_checkpoint_is_loaded(tmp_path):
    path = saved(tmp_path / "checkpoint.pth", good(where=pathlib.PurePosixPath("here")))
    with pytest.raises(CheckpointError, match=r"asks for pathlib.*PurePosixPath"):
        read_checkpoint(path)
    assert read_checkpoint(path, trust=True)["where"] == pathlib.PurePosixPath("here")


def test_damaged_packed_and_foreign_files_are_refused(tmp_path):
    cut = saved(tmp_path / "cut.pth", good())
    cut.write_bytes(cut.read_bytes()[:-100])
    cut_pickle = rewritten(saved(tmp_path / "pickle.pth", good()), lambda pickle: pickle[:40])
    (tmp_path / "page.pth").write_text("<html>")
    for path in (cut, cut_pickle, tmp_path / "page.pth"):
        with pytest.raises(CheckpointError, match=f"{path.name}: is damaged, or no checkpoint"):
            read_checkpoint(path)
    zeros = saved(tmp_path / "zeros.pth", good(network_weights={"w": torch.zeros(10**6)}))
    with pytest.raises(CheckpointError, match=r"would unpack to 0\.00 GB, but torch packs nothing"):
        read_checkpoint(rewritten(zeros, bytes, zipfile.ZIP_DEFLATED))


def test_plans_that_name_a_function_are_refused_before_it_runs(nnunet):
    """nnU-Net imports what arch_kwargs name, and calls an activation with its nonlin_kwargs."""
    made = plans_with()
    folder = write_model_folder(nnunet / "nnUNet_results", made, "3d_fullres", trainer="PlannedUNetTrainer")
    kwargs = made["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    kwargs.update(nonlin="os.mkdir", nonlin_kwargs={"path": str(nnunet / "marker")})
    (folder / "plans.json").write_text(json.dumps(made))
    with pytest.raises(InferenceError, match=r"nonlin is 'os\.mkdir', and building the network would import and call"):
        load_model(folder, CPU)
    kwargs.update(nonlin="torch.nn.modules.module.register_module_forward_hook")
    (folder / "plans.json").write_text(json.dumps(made))
    with pytest.raises(InferenceError, match="nonlin is 'torch"):
        load_model(folder, CPU)
    assert not (nnunet / "marker").exists()
    kwargs.update(nonlin="os.mkdir")
    (folder / "plans.json").write_text(json.dumps(made))
    with pytest.raises(FileExistsError):  # its second activation: the first has run, as in stock nnU-Net
        load_model(folder, CPU, trust=True)
    assert (nnunet / "marker").exists()


def test_weights_of_another_network_are_one_line(nnunet):
    folder = write_model_folder(nnunet / "nnUNet_results", plans_with(), "3d_fullres")
    (folder / "dataset.json").write_text(json.dumps(dataset_json({"background": 0, "kidney": 1})))
    with pytest.raises(InferenceError, match=r"checkpoint_final\.pth: its weights do not fit the network"):
        load_model(folder, CPU)


@pytest.mark.parametrize(
    ("key", "value"), [("label_manager", "NoManager"), ("foreground_intensity_properties_per_channel", {})]
)
def test_plans_from_which_no_network_can_be_built_are_one_line_or_no_matter(nnunet, key, value):
    folder = write_model_folder(nnunet / "nnUNet_results", plans_with(), "3d_fullres")
    (folder / "plans.json").write_text(json.dumps({**plans_with(), key: value}))
    if key == "label_manager":
        with pytest.raises(InferenceError, match=r"no network can be built from the model's plans\.json .*TypeError"):
            load_model(folder, CPU)
    else:
        assert load_model(folder, CPU).heads == 4


def test_doctor_names_the_commands_that_unpickle(monkeypatch, tmp_path):
    check = doctor.check_unpickling()
    assert check.status == "warn"
    assert "nnUNetv2_predict, " in check.found
    assert "-pretrained_weights" in check.found
    assert "nnUNetv2_apply_postprocessing" in check.found
    assert "nnUNetv2_ensemble" in check.found
    module = tmp_path / "inference" / "predict_from_raw_data.py"
    module.parent.mkdir()
    module.write_text("import torch\nprint(torch.load('x', weights_only=True))\n")
    assert unpickling_commands(tmp_path) == []
    module.write_text("import torch\nprint(torch.load('x'))\n")
    assert unpickling_commands(tmp_path) == ["nnUNetv2_predict", "nnUNetv2_predict_from_modelfolder"]
    module.write_text("print(load_pickle('x'))\n")
    assert unpickling_commands(tmp_path) == ["nnUNetv2_predict", "nnUNetv2_predict_from_modelfolder"]
    monkeypatch.setattr(doctor, "_version_of", lambda package: (2, 6))
    assert "2.10 or later" in doctor.check_unpickling().advice
