"""Processes that load: their own errors end a training, their draws are their own, and they compile nothing."""

import importlib
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, get_start_method
from pathlib import Path

import numpy as np
import pytest
import torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from small_data import FORMS, small_dataset_json, small_plans

from nnunet_kits.augmentation import set_pipeline
from nnunet_kits.augmentation.loader import BoxLoader
from nnunet_kits.augmentation.pipeline import Accelerated, accelerate
from nnunet_kits.augmentation.sets import load_set
from nnunet_kits.augmentation.warming import compile_loops
from nnunet_kits.errors import TrainingError
from nnunet_kits.training import loaders
from nnunet_kits.training.trainers import trainer_class
from nnunet_kits.training.workers import Workers

FEW = {"num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1}
CPU = torch.device("cpu")


class Draws(BoxLoader):
    """Draws by torch and by NumPy in place of patches."""

    infinite = True

    def __init__(self, transforms=None):
        self.transforms = transforms

    def generate_train_batch(self):
        time.sleep(0.05)  # so that every process has its turn
        return {"torch": torch.rand(1).item(), "numpy": np.random.uniform()}


def test_every_process_draws_numbers_of_its_own():
    loader = Workers(Draws(), 3, 3, False)
    try:
        made = [next(loader) for _ in range(45)]
    finally:
        loader._finish()
    for key in ("torch", "numpy"):
        assert len({batch[key] for batch in made}) == 45


@pytest.mark.skipif(get_start_method() != "fork", reason="nothing is copied")
def test_without_ours_all_processes_draw_the_same_by_torch():
    loader = NonDetMultiThreadedAugmenter(Draws(), None, 3, 3)
    try:
        made = [next(loader) for _ in range(45)]
    finally:
        loader._finish()
    assert len({batch["torch"] for batch in made}) < len({batch["numpy"] for batch in made}) == 45


def take_all(loader):
    for _ in range(10**6):
        next(loader)


@pytest.mark.slow  # batchgenerators waits ten seconds for what a killed process has left
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # batchgenerators' own thread
def test_a_process_that_is_killed_is_told_of_with_what_to_do():
    loader = Workers(Draws(), 2, 2, False)
    next(loader)
    os.kill(loader._processes[0].pid, signal.SIGKILL)
    with pytest.raises(
        TrainingError, match=r"ended by SIGKILL, as happens where memory .* Free memory, or set nnUNet_n"
    ):
        take_all(loader)


class Faults(Draws):
    """Pages that the system was asked for, of one block that is taken and freed five times."""

    def generate_train_batch(self):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            np.ones(40 << 20, np.uint8)
        return {"faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_a_process_that_loads_uses_memory_again_that_it_has_freed():
    with_ours = Workers(Faults(Accelerated([])), 1, 1, False)
    stock = Workers(Faults(), 1, 1, False), NonDetMultiThreadedAugmenter(Faults(), None, 1, 1)
    try:
        kept, *given_back = ([next(loader)["faults"] for _ in range(3)][-1] for loader in (with_ours, *stock))
    finally:
        for loader in (with_ours, *stock):
            loader._finish()
    assert kept < min(given_back) / 10


class Fails(Draws):
    def generate_train_batch(self):
        raise ValueError("three is no number")


def test_an_error_that_is_not_ours_is_told_with_its_kind(capfd):
    with pytest.raises(TrainingError, match=r"^ValueError: three is no number \(in a loading process\)$"):
        next(Workers(Fails(), 1, 1, False))
    assert "Traceback" in capfd.readouterr().err  # batchgenerators': where it happened


def test_without_processes_an_error_is_raised_as_it_is():
    with pytest.raises(ValueError, match="three is no number"):
        next(Fails())


def test_a_training_on_a_damaged_file_ends_with_the_files_name(small, tmp_path, monkeypatch):
    warmed = []
    monkeypatch.setattr(loaders, "compile_loops", lambda transforms, dimensions: warmed.append(dimensions))
    copied = tmp_path / "preprocessed"
    dataset = FORMS["classes"][0]
    shutil.copytree(small / "nnUNet_preprocessed" / dataset, copied / dataset)
    monkeypatch.setenv("nnUNet_preprocessed", str(copied))
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    given = {**small_plans("classes", kits_training=FEW), "continue_training": False}
    trainer = trainer_class("PlannedUNetTrainer_1epochs")(given, "3d_fullres", 0, small_dataset_json("classes"), CPU)
    for case in Path(trainer.preprocessed_dataset_folder).glob("case_0000?.b2nd"):
        case.write_bytes(case.read_bytes()[:200])
    with pytest.raises(TrainingError, match=r"case_0000\d.b2nd: cannot be read .* preprocess the case again"):
        trainer.run_training()
    assert warmed == [3, 3]  # of training and validation, before the processes started


# compiled before


def pipelines():
    """nnU-Net's training pipelines and those of sets, as trainers make them."""
    for patch, dummy in (((24, 30, 28), False), ((16, 36, 40), True), ((40, 36), False)):
        scales = [[1] * len(patch), [0.5] * len(patch)]
        for cascade in (False, True):
            task = {"is_cascaded": cascade, "foreground_labels": [1, 2], "regions": [(1, 2), 2]}
            stock = nnUNetTrainer.get_training_transforms(patch, (-0.5, 0.5), scales, (0,), dummy, **task)
            yield accelerate(stock), patch
            if not dummy:
                stock = nnUNetTrainer.get_training_transforms(patch, (-0.5, 0.5), scales, None, False, **task)
                chosen = load_set("chen_zhang")
                yield accelerate(set_pipeline.pipeline(chosen, patch, stock, {"tumor": 2})), patch


def compiled():
    """How many versions of every loop are compiled or read from the cache."""
    counts = {}
    for name in ("filter", "label", "mask", "sampling"):
        module = importlib.import_module(f"nnunet_kits.augmentation.{name}_kernels")
        counts |= {
            f"{name}.{key}": len(found.signatures) for key, found in vars(module).items() if hasattr(found, "py_func")
        }
    return counts


def compiled_before_and_after():
    """In a new process: after :func:`compile_loops`, and after patches were made."""
    torch.set_num_threads(1)
    made = list(pipelines())
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    for pipeline, patch in made:
        compile_loops(pipeline, len(patch))
    kept = (np.random.get_state()[1] == state[0]).all() and torch.equal(torch.get_rng_state(), state[1])
    before = compiled()
    rng = np.random.default_rng(0)
    for pipeline, patch in made:
        for _ in range(6):
            shape = (patch[0], *[edge + 10 for edge in patch[1:]])
            labels = torch.from_numpy(rng.integers(0, 3, (2, *shape))).to(torch.int16)
            pipeline(image=torch.rand((1, *shape)), segmentation=labels)
    return kept, before, compiled()


@pytest.mark.slow
def test_processes_that_load_find_every_loop_compiled():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        kept, before, after = pool.submit(compiled_before_and_after).result()
    assert kept
    assert before == after
    assert sum(before.values()) > 12  # a loop within another is counted only where both are compiled, not read


SPAWNED = """
import multiprocessing, sys
from test_training_workers import CPU, FEW, small_dataset_json, small_plans, trainer_class

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn", force=True)
    given = {**small_plans("classes", kits_training=FEW), "continue_training": False}
    trainer = trainer_class("PlannedUNetTrainer_1epochs")(given, "3d_fullres", 0, small_dataset_json("classes"), CPU)
    trainer.initialize()
    for loader in trainer.get_dataloaders():
        print("batch of", len(next(loader)["data"]))
        loader._finish(force=True)
"""


@pytest.mark.slow  # three processes, each of which imports torch and nnU-Net
def test_loading_processes_can_be_started_anew_as_other_systems_start_them(small, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    (tmp_path / "train.py").write_text(SPAWNED, encoding="utf-8")
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, tmp_path / "train.py"],
        env={**os.environ, "PYTHONPATH": path, "nnUNet_preprocessed": str(small / "nnUNet_preprocessed")},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.stdout.count("batch of 2") == 2, done.stderr[-2000:]
