"""Kidney and tumour Dice, and seconds per iteration, of stock nnUNetTrainer and of ours: same data, iterations, seeds.

    python benchmarks/learning.py FOLDER

Phantoms are written, converted, planned and preprocessed in FOLDER once. Each run trains one trainer with one seed in a
process of its own and is kept in FOLDER/runs; run the command again to go on. All trainers get the plans without
training settings, and all the same optimiser, AdamW with nnU-Net's polynomial decay, because nnU-Net's SGD learns next
to nothing in so few iterations (``--sgd`` to see it): only network, loss and sampling differ. Dice is that of the
validation cases of fold 0 on the preprocessed grid, mirrored copies off: kidney with its masses, and tumour. Seconds of
a step are of a batch of random numbers, all trainers in turn in one process, the median.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from side_by_side import device_name, dice, environment, machine
from trainers import described, make_trainer, random_batch

from nnunet_kits import __version__

TRAINERS = (
    "nnUNetTrainer",
    "PlainUNetTrainer",
    "ResUNetTrainer",
    "PreActResUNetTrainer",
    "ResUNetTrainer_DiceWeightedCE",
    "ResUNetTrainer_Tversky",
    "ResUNetTrainer_FocalTversky",
    "ResUNetTrainer_DiceFocal",
    "ResUNetTrainer_DiceTopK",
    "ResUNetTrainer_UnifiedFocal",
    "ResUNetTrainer_DiceCEBoundary",
    "ResUNetTrainer_TumorFocus",
    "ResUNetTrainer_FocalTversky_TumorFocus",
)
PLANS, CONFIGURATION, EPOCHS, LEARNING_RATE = "KiTSDemoPlans", "3d_fullres", 10, 3e-3
ORGANS = {"kidney": (1, 2, 3), "tumour": (2,)}
STEPS = 20


def prepare(out: Path, cases: int, size: str) -> None:
    """Phantoms, converted, planned and preprocessed, by the commands a user types."""
    done = out / "data.json"
    wanted = {"cases": cases, "size": size}
    if done.is_file():
        if json.loads(done.read_text()) != wanted:
            sys.exit(f"{out} holds other data ({done.read_text()}). Give another folder.")
        return
    settings = os.environ | environment(out) | {"nnUNet_def_n_proc": "1"}
    for command in (
        f"nnunet_kits phantom {out / 'phantoms'} --cases {cases} --size {size}",
        f"nnunet_kits convert --year 23 {out / 'phantoms'} --folds 3 -np 1",
        f"nnunet_kits plan -d 220 --preset {PLANS}",
        f"nnUNetv2_preprocess -d 220 -plans_name {PLANS} -c {CONFIGURATION} -np 2",
    ):
        program, *words = command.split()
        found = shutil.which(program) or str(Path(sys.executable).with_name(program))
        subprocess.run([found, *words], check=True, env=settings, stdout=subprocess.DEVNULL)
    done.write_text(json.dumps(wanted))


def bare_trainer(name: str, options: argparse.Namespace) -> Any:
    """A trainer of fold 0 as nnU-Net finds it, without settings of the plans."""
    plans, dataset = described(options.out, PLANS)
    for configuration in plans["configurations"].values():
        configuration.pop("kits_training", None)
    trainer = make_trainer(name, plans, CONFIGURATION, dataset, options.device, fold=0)
    trainer.disable_checkpointing = True
    trainer.logger.plot_progress_png = lambda *_: None
    return trainer


def run_one(name: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Train once and score; everything random is drawn from the seed."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    trainer = bare_trainer(name, options)
    trainer.num_epochs = min(EPOCHS, options.iterations)
    trainer.num_iterations_per_epoch = options.iterations // trainer.num_epochs
    trainer.num_val_iterations_per_epoch = 1
    if not options.sgd:
        trainer.configure_optimizers = lambda: adamw(trainer)
    trainer.run_training()
    return organ_dice(trainer)


def adamw(trainer: Any) -> tuple[Any, Any]:
    """What every trainer learns with here."""
    import torch
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

    optimizer = torch.optim.AdamW(trainer.network.parameters(), LEARNING_RATE, weight_decay=1e-4)
    return optimizer, PolyLRScheduler(optimizer, LEARNING_RATE, trainer.num_epochs)


def step_seconds(trainers: list[str], options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a training step of each trainer, all in turn, on random images."""
    ready = {name: bare_trainer(name, options) for name in trainers}
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for trainer in ready.values():
        trainer.initialize()
        trainer.network.train()
    for turn in range(STEPS):
        for name, trainer in ready.items():
            batch = random_batch(trainer)
            start = time.perf_counter()
            trainer.train_step(batch)
            if turn >= STEPS // 4:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def organ_dice(trainer: Any) -> dict[str, float]:
    """Mean Dice of the validation cases, by organ; cases without the organ are left out."""
    import numpy as np
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor = nnUNetPredictor(use_mirroring=False, device=trainer.device, allow_tqdm=False)
    manager = trainer.plans_manager, trainer.configuration_manager
    predictor.manual_initialization(trainer.network, *manager, None, trainer.dataset_json, "", None)
    scores: dict[str, list[float]] = {organ: [] for organ in ORGANS}
    dataset = trainer.get_tr_and_val_datasets()[1]
    for case in dataset.identifiers:
        image, truth, _, _ = dataset.load_case(case)
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(np.array(image[:])))
        found, truth = trainer.label_manager.convert_logits_to_segmentation(logits.cpu()).numpy(), truth[:][0]
        for organ, labels in ORGANS.items():
            a, b = np.isin(found, labels), np.isin(truth, labels)
            if b.any():
                scores[organ].append(dice(a, b))
    return {organ: statistics.mean(values) for organ, values in scores.items() if values}


def kept(file: Path, out: Path, threads: int, *words: object) -> dict[str, Any]:
    """The result of a run that is done, or else of running this script with ``words`` for it."""
    if not file.is_file():
        with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".part", delete=False) as temporary:
            command = [sys.executable, __file__, str(out), "--one", temporary.name, *map(str, words)]
        settings = os.environ | environment(out) | {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0"}
        settings |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
        started = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
        if started.returncode:
            Path(temporary.name).unlink()
            sys.exit(f"{' '.join(command)} failed:\n{started.stdout[-2000:]}{started.stderr[-4000:]}")
        os.replace(temporary.name, file)
        print(f"{file.stem}: {file.read_text()}", file=sys.stderr, flush=True)
    result: dict[str, Any] = json.loads(file.read_text())
    return result


def spread(values: list[float]) -> str:
    """Mean and standard deviation over the seeds."""
    if not values:
        return "no case has it"
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def learning(options: argparse.Namespace, runs: Path) -> None:
    """Train what is not trained yet, time a step, and print the table."""
    optimiser = "nnU-Net's SGD" if options.sgd else f"AdamW, {LEARNING_RATE:g}"
    print(
        f"{options.seeds} seeds, {options.iterations} iterations of batch 2, {optimiser}, {options.cases} "
        f"{options.size} phantoms in three folds, fold 0.\n"
    )
    common = ["--iterations", options.iterations, "--device", options.device, *(["--sgd"] if options.sgd else [])]
    kind = f"{options.device}.{options.iterations}" + (".sgd" if options.sgd else "")

    def run(task: tuple[int, str]) -> dict[str, Any]:
        seed, name = task
        file = runs / f"{name}.{kind}.{seed}.json"
        return kept(file, options.out, options.threads, "--run", name, seed, *common)

    tasks = [(seed, name) for seed in range(options.seeds) for name in options.trainers]
    with ThreadPoolExecutor(options.jobs) as pool:
        found = dict(zip(tasks, pool.map(run, tasks), strict=True))
    steps = kept(runs / f"steps.{options.device}.json", options.out, 0, "--steps", *common)
    print("| trainer | kidney Dice | tumour Dice | seconds per step | against stock |\n|---|---|---|---|---|")
    for name in options.trainers:
        results = [found[seed, name] for seed in range(options.seeds)]
        scores = [spread([result[organ] for result in results if organ in result]) for organ in ORGANS]
        ratio = steps[name] / steps[TRAINERS[0]]
        print(f"| `{name}` | {scores[0]} | {scores[1]} | {steps[name]:.3f} | {ratio:.2f} |", flush=True)


def main() -> None:
    """Measure and print; or, called by itself, do one run and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for data and runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--cases", type=int, default=18)
    parser.add_argument("--size", default="small", help="of the phantoms")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "mps"))
    parser.add_argument("--trainers", nargs="+", default=TRAINERS)
    parser.add_argument("--sgd", action="store_true", help="nnU-Net's SGD in place of AdamW")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=0, help="of a training (default: torch's own choice)")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--steps", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out = options.out.resolve()
    if options.one:
        name, seed = options.run or ("", 0)
        found = run_one(name, int(seed), options) if name else step_seconds(list(TRAINERS), options)
        options.one.write_text(json.dumps(found))
        return
    runs = options.out / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    prepare(options.out, options.cases, options.size)
    print(f"{machine()}; nnunet_kits {__version__}, {device_name(options.device)}")
    learning(options, runs)


if __name__ == "__main__":
    main()
