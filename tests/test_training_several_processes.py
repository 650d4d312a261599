"""Trainings shared by two processes (``nnUNetv2_train -num_gpus 2``), on the CPU: see one_of_two_processes.py."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from small_data import CASES, FORMS, small_plans

from nnunet_kits.environment import SHIM_FOLDER
from nnunet_kits.model_folder import BEST, FINAL, ModelFolder

pytestmark = pytest.mark.slow

PROCESS = Path(__file__).with_name("one_of_two_processes.py")
DATASET = FORMS["classes"][0]

FED = "ResUNetTrainer_2epochs"
STOPPED = "ResUNetTrainer_AdamPlateauTrain_9epochs"
LONGER = "ResUNetTrainer_AdamPlateauTrain_20epochs"
TRIPLE = "ZhangPlainUNetTrainer_1epochs"
FLAT = "RecursiveUNet2DTrainer_PositiveSlices_Mixup_1epochs"

FALLING, RISING = [9 - 0.1 * n for n in range(20)], [1 + 0.3 * n for n in range(20)]
PLATEAU = {"patience": 1, "min_delta": 0.0, "past_weight": 0.0, "factor": 0.5}
PLANS = {
    "FedPlans": {"batch_size": 4, "batch_dice": True},
    "StoppedPlans": {"batch_size": 3, "kits_training": {"plateau": PLATEAU, "early_stopping_patience": 3}},
    "TriplePlans": {"batch_size": 9},
    "FlatPlans": {"batch_size": 7},
}
"""Name of plans -> what they have of their own."""

JOBS = [
    {"trainer": FED, "plans": "FedPlans"},
    {"trainer": STOPPED, "plans": "StoppedPlans", "losses": [FALLING, RISING], "validates": True},
    {"trainer": LONGER, "plans": "StoppedPlans", "losses": [FALLING, RISING], "continues": True},
    {"trainer": TRIPLE, "plans": "TriplePlans"},
    {"trainer": FLAT, "plans": "FlatPlans", "configuration": "2d"},
]


def plans_of(name):
    few = {"num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1}
    own = PLANS[name]
    made = small_plans("classes")
    del made["continue_training"]
    for configuration in ("2d", "3d_fullres"):
        given = made["configurations"][configuration]
        given.update({**own, "kits_training": {**few, **own.get("kits_training", {})}})
    return {**made, "plans_name": name}


def batches(count, seed):
    """Random images (4, 1, z, y, x) with labels at three resolutions."""
    random = torch.Generator().manual_seed(seed)
    return [
        {
            "data": torch.randn((4, 1, 16, 24, 24), generator=random),
            "target": [torch.randint(0, 4, (4, 1, 16 // n, 24 // n, 24 // n), generator=random) for n in (1, 2, 4)],
        }
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def world(small_datasets, tmp_path_factory):
    """Folders of its own, in which both processes have trained all jobs; returns the folder."""
    root = tmp_path_factory.mktemp("several")
    folders = {name: root / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        shutil.copytree(small_datasets / name / DATASET, folders[name] / DATASET)
    folders["nnUNet_results"].mkdir()
    for name in PLANS:
        (folders["nnUNet_preprocessed"] / DATASET / f"{name}.json").write_text(json.dumps(plans_of(name)))
    torch.save((batches(4, seed=1), batches(2, seed=2)), root / f"batches_{FED}.pt")
    environment = {**os.environ, **{name: str(folder) for name, folder in folders.items()}}
    environment |= {"nnUNet_extTrainer": str(SHIM_FOLDER), "nnUNet_n_proc_DA": "0"}
    jobs = json.dumps([{"dataset": DATASET, "configuration": "3d_fullres", **job} for job in JOBS])
    said = [root / f"said_{rank}.txt" for rank in range(2)]
    meeting = (root / "meeting").as_uri()
    codes = run_both([[str(rank), meeting, str(root), jobs] for rank in range(2)], environment, said)
    assert codes == [0, 0], "\n".join(file.read_text()[-3000:] for file in said)
    return root


def run_both(arguments, environment, said):
    """Exit codes of both processes; where one fails or they take too long, both are ended."""
    with ExitStack() as stack:
        outputs = [stack.enter_context(file.open("w")) for file in said]
        processes = [
            subprocess.Popen([sys.executable, PROCESS, *given], env=environment, stdout=output, stderr=output)
            for given, output in zip(arguments, outputs, strict=True)
        ]
        deadline = time.monotonic() + 500
        while time.monotonic() < deadline and all(process.poll() in (None, 0) for process in processes):
            if all(process.poll() == 0 for process in processes):
                break
            time.sleep(0.1)
        for process in processes:
            if process.poll() is None:
                process.kill()
        return [process.wait() for process in processes]


def known_to_both(world, trainer):
    return [torch.load(world / f"{trainer}_{rank}.pt", weights_only=False) for rank in range(2)]


def fold_of(world, trainer, plans, configuration="3d_fullres"):
    return ModelFolder(world / "nnUNet_results" / DATASET, trainer, plans, configuration).fold(0)


def assert_same_weights(one, other, **tolerance):
    assert one.keys() == other.keys()
    for key, weight in one.items():
        torch.testing.assert_close(weight, other[key], **(tolerance or {"rtol": 0, "atol": 0}))


@pytest.mark.parametrize("trainer", [job["trainer"] for job in JOBS])
def test_both_processes_have_the_same_weights_and_log(world, trainer):
    one, other = known_to_both(world, trainer)
    assert_same_weights(one["weights"], other["weights"])
    assert one["epoch"] == other["epoch"]
    for name, values in one["logging"].items():
        if not name.endswith("timestamps"):
            np.testing.assert_array_equal(values, other["logging"][name])


def test_two_processes_learn_what_one_does_of_the_same_batches(world, monkeypatch):
    one, _ = known_to_both(world, FED)
    for name in ("nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(world / name))
    monkeypatch.setenv("nnUNet_results", str(world / "alone"))
    monkeypatch.setenv("nnUNet_extTrainer", str(SHIM_FOLDER))
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda *_: None)
    torch.manual_seed(0)
    alone = get_trainer_from_args(DATASET, "3d_fullres", 0, FED, "FedPlans", device=torch.device("cpu"))
    alone.initialize()
    assert_same_weights(alone.network.state_dict(), one["weights at first"])
    training, validation = torch.load(world / f"batches_{FED}.pt", weights_only=False)
    alone.get_dataloaders = lambda: (iter(training), iter(validation))
    alone.run_training()
    for name in ("train_losses", "val_losses", "ema_fg_dice", "lrs"):
        assert len(one["logging"][name]) == 2
        np.testing.assert_allclose(one["logging"][name], alone._logged(name), rtol=1e-4)
    assert_same_weights(one["weights"], alone.network.state_dict(), rtol=1e-3, atol=1e-4)
    moved = [(one["weights"][key] - first).abs().max() for key, first in one["weights at first"].items()]
    assert max(moved) > 1e-2


def test_early_stopping_and_plateaus_follow_the_losses_of_both(world):
    one, _ = known_to_both(world, STOPPED)  # the losses of the first fall for ever, their mean rises
    assert one["epoch"] == 4
    assert one["logging"]["val_losses"] == pytest.approx([5.0, 5.1, 5.2, 5.3])
    first, *others = one["logging"]["lrs"]
    assert others == pytest.approx([first, first / 2, first / 4])


def test_checkpoints_are_written_once_and_the_log_is_written_by_the_first(world):
    folder = fold_of(world, STOPPED, "StoppedPlans")
    assert sorted(file.name for file in folder.glob("checkpoint_*")) == [BEST, FINAL]
    best = torch.load(folder / BEST, weights_only=False)
    assert best["current_epoch"] == 1  # that of the lowest mean loss
    log = "".join(file.read_text() for file in folder.glob("training_log_*.txt"))
    for line in ("Patches are augmented by our loops.", "Epoch 3", "Early stopping: 3 epochs", "Training done."):
        assert log.count(line) == 1
    assert log.count("Loading: the network takes") == 2  # after the first epoch and the second


def test_both_validate(world):
    summary = json.loads((fold_of(world, STOPPED, "StoppedPlans") / "validation" / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == len(CASES[4:])


def test_a_longer_training_is_gone_on_from_by_both(world):
    for known in known_to_both(world, LONGER):
        assert known["epoch at first"] == known["epoch"] == 4  # it was stopped, and stays so
        assert_same_weights(known["weights at first"], known_to_both(world, STOPPED)[0]["weights"])
    log = "".join(file.read_text() for file in fold_of(world, LONGER, "StoppedPlans").glob("training_log_*.txt"))
    assert log.count(f"{LONGER} goes on from the finished {STOPPED}, after its 4 epochs") == 1


@pytest.mark.parametrize(
    ("trainer", "shares", "size"),
    [
        (STOPPED, [(2, 0.0), (1, 1.0)], (1, 16, 24, 24)),
        (TRIPLE, [(6, 0.0), (3, 1.0)], (1, 16, 24, 24)),
        (FLAT, [(4, 0.5), (3, 1.0)], (1, 32, 32)),
    ],
)
def test_the_batch_is_shared_and_the_images_of_a_patch_stay_together(world, trainer, shares, size):
    for known, (images, foreground) in zip(known_to_both(world, trainer), shares, strict=True):
        assert known["share"] == (images, pytest.approx(foreground))
        assert set(known["seen"]) == {(images, *size)}
