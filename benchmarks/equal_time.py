"""Stock nnUNetTrainer and ours for the same wall time: learning curves, and Dice on cases that nobody has seen.

    python benchmarks/equal_time.py WORK --tree KITS23_TREE --held-out 4 [--minutes 30] [--seeds 3]

The tree is converted, its last cases held out, planned at 4 mm and preprocessed in WORK once. Then each trainer trains
with each seed for the same time, on one CPU of its own: those of one seed side by side, on swapped CPUs for every other
seed. Loading happens in the training process, as on a machine without CPUs to spare. The learning rate falls by
nnU-Net's polynomial of the share of the time that is gone. A run that is done is kept in WORK/runs; run the command
again to go on. ``PlannedUNetTrainer`` is nnU-Net's own network and loss with our loading. Both learn by AdamW, because
nnU-Net's SGD learns next to nothing in so few iterations (``--sgd`` to see it): nothing but the loading differs.
The picture, WORK/learning.png, shows training loss and pseudo Dice by iterations and by minutes.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from learning import LEARNING_RATE, ORGANS, adamw, organ_dice, spread
from side_by_side import device_name, environment, machine
from trainers import described, make_trainer

from nnunet_kits import __version__
from nnunet_kits.environment import program

TRAINERS = ("nnUNetTrainer", "PlannedUNetTrainer")
PLANS, CONFIGURATION, ITERATIONS = "FourMillimetrePlans", "3d_fullres", 25
PRESET = {
    "summary": "a small network at 4 mm",
    "source": "this benchmark",
    "features_first": 8,
    "features_max": 64,
    "trainers": {CONFIGURATION: TRAINERS[1]},
    "configurations": {
        CONFIGURATION: {
            "spacing_zyx_mm": [4.0, 4.0, 4.0],
            "patch_size": [40, 48, 48],
            "batch_size": 2,
            "batch_dice": False,
            "max_stages": 4,
        }
    },
}


def prepare(options: argparse.Namespace) -> None:
    """Convert, plan and preprocess by the commands that a user types; no fold trains on the last cases."""
    done = options.work / "data.json"
    names = sorted(folder.name for folder in options.tree.glob("case_*"))
    held_out = names[-options.held_out :]
    if done.is_file() and json.loads(done.read_text()) == [names, held_out]:
        return
    preset = options.work / f"{PLANS}.json"
    preset.write_text(json.dumps(PRESET))
    settings = os.environ | environment(options.work) | {"nnUNet_def_n_proc": "1"}
    for command in (
        f"nnunet_kits convert --year 23 {options.tree} --folds 3",
        f"nnunet_kits plan -d 220 --preset {preset}",
        f"nnUNetv2_preprocess -d 220 -plans_name {PLANS} -c {CONFIGURATION} -np 2",
    ):
        name, *words = command.split()
        subprocess.run([program(name), *words], check=True, env=settings, stdout=subprocess.DEVNULL)
    splits = [{"train": [name for name in names if name not in held_out], "val": held_out}]
    (options.work / "nnUNet_preprocessed" / "Dataset220_KiTS2023" / "splits_final.json").write_text(json.dumps(splits))
    done.write_text(json.dumps([names, held_out]))


class Remaining:
    """nnU-Net's polynomial, of the share of the time that is gone."""

    def __init__(self, trainer: Any, seconds: float) -> None:
        self.trainer, self.seconds, self.start = trainer, seconds, time.perf_counter()

    @property
    def share_gone(self) -> float:
        """From 0 to 1."""
        return min(1.0, (time.perf_counter() - self.start) / self.seconds)

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rate of the epoch that begins."""
        for group in self.trainer.optimizer.param_groups:
            group["lr"] = self.trainer.initial_lr * (1 - self.share_gone) ** 0.9

    def get_last_lr(self) -> list[float]:
        """As torch's schedulers tell it."""
        return [group["lr"] for group in self.trainer.optimizer.param_groups]


def train(name: str, seed: int, seconds: float, work: Path, sgd: bool) -> dict[str, Any]:
    """Train for so long in epochs of few iterations, then score the cases held out."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    plans, dataset = described(work, PLANS)
    trainer = make_trainer(name, plans, CONFIGURATION, dataset, "cpu", fold=0)
    trainer.output_folder = str(work / "runs" / f"{name}_{seed}")
    trainer.disable_checkpointing = True
    trainer.logger.plot_progress_png = lambda *_: None
    trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = ITERATIONS, 5
    trainer.num_epochs = 1_000_000
    if not sgd:
        trainer.initial_lr = LEARNING_RATE
        trainer.configure_optimizers = lambda: adamw(trainer)
    trainer.on_train_start()
    next(trainer.dataloader_train), next(trainer.dataloader_val)  # our loops are compiled here, once on a machine
    trainer.lr_scheduler = remaining = Remaining(trainer, seconds)
    curve = []
    while remaining.share_gone < 1:
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()
        losses = [trainer.train_step(next(trainer.dataloader_train)) for _ in range(ITERATIONS)]
        trainer.on_train_epoch_end(losses)
        gone = time.perf_counter() - remaining.start
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            found = [trainer.validation_step(next(trainer.dataloader_val)) for _ in range(5)]
            trainer.on_validation_epoch_end(found)
        pseudo = trainer.logger.get_value("dice_per_class_or_region", step=-1)[:2]
        curve.append(
            {
                "iterations": ITERATIONS * (len(curve) + 1),
                "minutes": gone / 60,
                "loss": float(np.mean([loss["loss"] for loss in losses])),
                "pseudo_dice": {organ: float(value) for organ, value in zip(ORGANS, pseudo, strict=True)},
            }
        )
        trainer.current_epoch += 1
    return {"curve": curve, "dice": organ_dice(trainer)}


def side_by_side(seed: int, options: argparse.Namespace, runs: Path) -> None:
    """All trainers with one seed, each on a CPU of its own, those that are not done yet."""
    settings = os.environ | environment(options.work) | {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "F"}
    settings |= {"OMP_NUM_THREADS": "1"}
    cpus = sorted(os.sched_getaffinity(0))
    running = []
    for place, name in enumerate(TRAINERS):
        file = runs / f"{name}.{seed}.json"
        if file.is_file():
            continue
        words = ["--one", name, "--seed", str(seed), "--minutes", str(options.minutes), "--to", str(file)]
        words += ["--sgd"] if options.sgd else []
        cpu = cpus[(place + seed) % len(cpus)]
        command = ["taskset", "-c", str(cpu), sys.executable, __file__, str(options.work), *words]
        log = (runs / f"{name}.{seed}.log").open("w")
        running.append((name, subprocess.Popen(command, env=settings, stdout=log, stderr=log)))
    failed = [name for name, process in running if process.wait()]
    if failed:
        sys.exit(f"{', '.join(failed)} failed; see {runs}")


def draw(results: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """Loss and pseudo Dice, by iterations and by minutes; a line a seed."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 7), sharey="row", layout="constrained")
    for colour, (name, runs) in zip(("tab:gray", "tab:blue"), results.items(), strict=True):
        for run in runs:
            curve = run["curve"]
            for column, key in enumerate(("iterations", "minutes")):
                x = [point[key] for point in curve]
                smooth = [_mean_of_last(curve, i, lambda point: point["loss"]) for i in range(len(curve))]
                axes[0, column].plot(x, smooth, color=colour, alpha=0.7, label=name if run is runs[0] else None)
                for organ, style in (("kidney", "-"), ("tumour", "--")):
                    values = [
                        _mean_of_last(curve, i, lambda point, organ=organ: point["pseudo_dice"].get(organ, 0.0))
                        for i in range(len(curve))
                    ]
                    axes[1, column].plot(x, values, style, color=colour, alpha=0.7)
                axes[1, column].set_xlabel(key)
    axes[0, 0].set_ylabel("training loss, mean of 5 epochs")
    axes[1, 0].set_ylabel("pseudo Dice, mean of 5 epochs\n(kidney solid, tumour dashed)")
    axes[0, 0].legend()
    figure.savefig(file, dpi=110)


def _mean_of_last(curve: list[dict[str, Any]], i: int, value: Any) -> float:
    values = [value(point) for point in curve[max(0, i - 4) : i + 1]]
    known = [v for v in values if v == v]  # a class that no patch showed is NaN
    return statistics.mean(known) if known else 0.0


def main() -> None:
    """Measure and print; or, called by itself, do one run and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for data and runs")
    parser.add_argument("--tree", type=Path, help="a KiTS23 folder")
    parser.add_argument("--held-out", type=int, default=4, metavar="N", help="its last N cases are not trained on")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sgd", action="store_true", help="nnU-Net's own optimiser, in another WORK")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work = options.work.resolve()
    if options.one:
        found = train(options.one, options.seed, 60 * options.minutes, options.work, options.sgd)
        options.to.write_text(json.dumps(found))
        return
    runs = options.work / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    options.tree = options.tree.resolve()
    print(f"{machine()}; nnunet_kits {__version__}, {device_name('cpu')}")
    prepare(options)
    for seed in range(options.seeds):
        side_by_side(seed, options, runs)
    results = {
        name: [json.loads((runs / f"{name}.{seed}.json").read_text()) for seed in range(options.seeds)]
        for name in TRAINERS
    }
    print(f"{options.minutes:g} minutes and one CPU each, {options.seeds} seeds, {options.held_out} cases held out\n")
    print("| trainer | iterations | " + " | ".join(f"{organ} Dice" for organ in ORGANS) + " | last training loss |")
    print("|---|---|" + "---|" * (len(ORGANS) + 1))
    for name, found in results.items():
        iterations = statistics.mean(run["curve"][-1]["iterations"] for run in found)
        scores = [spread([run["dice"][organ] for run in found if organ in run["dice"]]) for organ in ORGANS]
        loss = spread([statistics.mean(point["loss"] for point in run["curve"][-5:]) for run in found])
        print(f"| `{name}` | {iterations:.0f} | {' | '.join(scores)} | {loss} |")
    draw(results, options.work / "learning.png")


if __name__ == "__main__":
    main()
