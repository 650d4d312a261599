"""Verbs killed with SIGKILL at any moment: the same command again ends with what an undisturbed run makes."""

import multiprocessing
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from forked import Child, start
from nnunetv2.run.run_training import run_training_entry
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from running import Run, copied, run_verb
from world import JOBS, RAW, read_whole, results

from nnunet_kits.training import cascade

TRAINER = "ResUNetTrainer_2epochs"
NUMBER = Path(RAW).name.removeprefix("Dataset")[:3]
PREPROCESS = f"preprocess -d {NUMBER} -p SmallPlans -c 3d_lowres 3d_fullres -np 1"
FOLDER = f"nnUNet_results/{Path(RAW).name}/{TRAINER}__SmallPlans__"

KILLED = {
    **{
        name: JOBS[job].line
        for name, job in {
            "convert": "convert a scan",
            "derive": "derive from a scan",
            "preprocess": "preprocess a scan",
            "predict": "predict",
            "postprocess": "postprocess",
            "evaluate": "evaluate predictions",
            "measure": "measure labels",
            "report": "report labels",
        }.items()
    },
    "train": f"nnUNetv2_train {NUMBER} 3d_fullres 0 -p SmallPlans -tr {TRAINER} -device cpu",
    "cascade": f"cascade -d {NUMBER} -p SmallPlans -tr {TRAINER} --folds 0 --device cpu",
}
"""Verb -> what is run; ``train`` is nnU-Net's own command with one of our trainers."""


def train(line: str) -> int:
    """nnU-Net's own command, in this process."""
    sys.argv = line.split()
    torch.set_num_threads(1)
    MetaLogger.plot_progress_png = lambda *_: None  # seconds an epoch
    context = multiprocessing.get_context
    multiprocessing.get_context = lambda _: context("fork")  # a spawned process imports everything anew
    run_training_entry()
    return 0


def command_in_fork(command: list[str]) -> None:
    """In the place of :func:`nnunet_kits.training.cascade.run_command`: the command in a fork that has its imports."""
    child = start(" ".join(command), run=train, session=False)
    if (code := child.end()) != 0:
        raise AssertionError(f"{command} ended with {code}: {child.said()[-2000:]}")


def prepare() -> None:
    """In the new process: a cascade's commands share our imports."""
    cascade.run_command = command_in_fork


def begin(verb: str, again: bool) -> Child:
    """Start the verb, or what the reference says to type after a stop."""
    line = KILLED[verb]
    if verb == "train":
        latest = list(Path(f"{FOLDER}3d_fullres/fold_0").glob("checkpoint_*.pth"))
        return start(line + " --c" * (again and bool(latest)), run=train)
    return start(line, prepare)


def outcome(verb: str, root: Path, before: set[Path]) -> dict[str, Any]:
    """What a run left; of a training the number of its epochs and its predictions, as its batches are random."""
    left = results(root, before)
    if verb not in ("train", "cascade"):
        return left
    found: dict[str, Any] = {name: None for name in left if "/validation/" in name and name.endswith(".nii.gz")}
    for file in root.rglob("checkpoint_*.pth"):
        if file.relative_to(root) not in before:
            content = torch.load(file, weights_only=False)
            epochs = content["current_epoch"]
            assert len(content["logging"]["train_losses"]) == epochs, f"{file} has logged other epochs"
            found[file.relative_to(root).as_posix()] = epochs if file.name == "checkpoint_final.pth" else None
    return {name: value for name, value in found.items() if "best" not in name}


def half_written(root: Path, before: set[Path]) -> list[str]:
    """Files under their final names that cannot be read to their end."""
    damaged = []
    for file in root.rglob("*"):
        if file.is_file() and file.relative_to(root) not in before and not file.name.startswith("."):
            try:
                torch.load(file, weights_only=False) if file.suffix == ".pth" else read_whole(file)
            except Exception as fault:
                damaged.append(f"HALF-WRITTEN: {file.relative_to(root)}: {fault}")
    return damaged


def kill_verb(world: Path, scratch: Path, verb: str, times: int, draw: random.Random) -> Iterator[Run]:
    """Kill a verb so many times, each at another moment of its work."""
    world = prepared(world, scratch, verb)
    before = {file.relative_to(world) for file in world.rglob("*")}
    with copied(world, scratch) as root:
        if verb not in ("train", "cascade"):
            run_verb(KILLED[verb])  # imports what the verb needs, once for all that are killed
    with copied(world, scratch) as root:
        first = time.monotonic()
        child = begin(verb, again=False)
        code = child.end(600)
        seconds = time.monotonic() - first
        assert code == 0, f"{verb}: {code} {child.said()[-2000:]}"
        whole = outcome(verb, root, before)
    hit = 0
    while hit < times:
        with copied(world, scratch) as root:
            moment = draw.uniform(0, seconds)
            child = begin(verb, again=False)
            time.sleep(moment)
            if not child.kill():
                seconds *= 0.95  # it had ended
                continue
            hit += 1
            run = Run(verb, f"killed after {moment:.2f} of {seconds:.2f} s", 0, "", {})
            run.faults += half_written(root, before)
            child = begin(verb, again=True)
            run.code = child.end(600)
            if run.code != 0:
                run.faults.append(f"NOT GONE ON: {run.code}: {child.said()[-1500:]}")
            else:
                try:
                    left = outcome(verb, root, before)
                    others = [name for name in {**whole, **left} if left.get(name, 1) != whole.get(name, 1)]
                    run.faults += [f"OTHER RESULT: {', '.join(sorted(others))}"] * bool(others)
                except Exception as damage:
                    run.faults.append(f"HALF-WRITTEN: {damage}")
            yield run


def prepared(world: Path, scratch: Path, verb: str) -> Path:
    """The world, and for trainings one with preprocessed arrays."""
    made = scratch.with_name("preprocessed")
    if verb in ("train", "cascade") and not made.exists():
        with copied(world, scratch) as root:
            assert run_verb(PREPROCESS)[0] == 0
            root.rename(made)
            root.mkdir()
    return made if verb in ("train", "cascade") else world
