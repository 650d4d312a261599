"""Kidney and tumour Dice, and seconds per iteration, of stock nnUNetTrainer and of ours: same data, iterations, seeds.

    python benchmarks/learning.py FOLDER
    python benchmarks/learning.py FOLDER --device cuda --full-size

Phantoms are written, converted, planned and preprocessed in FOLDER once. Each run trains one trainer with one seed in a
process of its own and is kept in FOLDER/runs; run the command again to go on. All trainers get the plans without
training settings, and all the same optimiser, AdamW with nnU-Net's polynomial decay, because nnU-Net's SGD learns next
to nothing in so few iterations (``--sgd`` to see it): only network, loss and sampling differ. Dice is that of the
validation cases of fold 0 on the preprocessed grid, mirrored copies off: kidney with its masses, and tumour. Seconds of
a step are of a batch of random numbers, all trainers in turn in one process, the median.
"""

import argparse
import copy
import datetime
import json
import os
import platform
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
NETWORKS = TRAINERS[:4]
PLANS, CONFIGURATION, EPOCHS, LEARNING_RATE = "KiTSDemoPlans", "3d_fullres", 10, 3e-3
ORGANS = {"kidney": (1, 2, 3), "tumour": (2,)}
FULL_SIZES = {"80 x 160 x 160": ((80, 160, 160), (3.22, 1.62, 1.62)), "128 x 128 x 128": ((128,) * 3, (0.78,) * 3)}
STEPS = 20


def environment(out: Path) -> dict[str, str]:
    """nnU-Net's folders below ``out``, our shim, no background processes so that a seed fixes the batches."""
    from nnunet_kits.environment import SHIM_FOLDER

    names = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
    folders = {name: str(out / name) for name in names}
    return {**os.environ, **folders, "nnUNet_extTrainer": str(SHIM_FOLDER), "nnUNet_def_n_proc": "1"}


def prepare(out: Path, cases: int, size: str) -> None:
    """Phantoms, converted, planned and preprocessed, by the commands a user types."""
    done = out / "data.json"
    wanted = {"cases": cases, "size": size}
    if done.is_file():
        if json.loads(done.read_text()) != wanted:
            sys.exit(f"{out} holds other data ({done.read_text()}). Give another folder.")
        return
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (out / name).mkdir(parents=True, exist_ok=True)
    for command in (
        f"nnunet_kits phantom {out / 'phantoms'} --cases {cases} --size {size}",
        f"nnunet_kits convert --year 23 {out / 'phantoms'} --folds 3 -np 1",
        f"nnunet_kits plan -d 220 --preset {PLANS}",
        f"nnUNetv2_preprocess -d 220 -plans_name {PLANS} -c {CONFIGURATION} -np 2",
    ):
        program, *words = command.split()
        found = shutil.which(program) or str(Path(sys.executable).with_name(program))
        subprocess.run([found, *words], check=True, env=environment(out), stdout=subprocess.DEVNULL)
    done.write_text(json.dumps(wanted))


def make_trainer(name: str, plans: dict[str, Any], dataset: dict[str, Any], device: str) -> Any:
    """A trainer as nnU-Net finds it, without settings of the plans."""
    import torch
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    plans = copy.deepcopy(plans) | {"continue_training": False}
    for configuration in plans["configurations"].values():
        configuration.pop("kits_training", None)
    trainer = recursive_find_trainer_class_by_name(name)(plans, CONFIGURATION, 0, dataset, torch.device(device))
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
    trainer = make_trainer(name, *described(options.out), options.device)
    trainer.num_epochs = min(EPOCHS, options.iterations)
    trainer.num_iterations_per_epoch = options.iterations // trainer.num_epochs
    trainer.num_val_iterations_per_epoch = 1
    if not options.sgd:
        trainer.configure_optimizers = lambda: adamw(trainer)
    trainer.run_training()
    return dice(trainer)


def described(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plans and dataset.json."""
    folder = out / "nnUNet_preprocessed" / "Dataset220_KiTS2023"
    return json.loads((folder / f"{PLANS}.json").read_text()), json.loads((folder / "dataset.json").read_text())


def adamw(trainer: Any) -> tuple[Any, Any]:
    """What every trainer learns with here."""
    import torch
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

    optimizer = torch.optim.AdamW(trainer.network.parameters(), LEARNING_RATE, weight_decay=1e-4)
    return optimizer, PolyLRScheduler(optimizer, LEARNING_RATE, trainer.num_epochs)


def step_seconds(trainers: list[str], options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a training step of each trainer, all in turn, on random images."""
    import torch

    plans, dataset = described(options.out)
    ready = {name: make_trainer(name, plans, dataset, options.device) for name in trainers}
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for trainer in ready.values():
        trainer.initialize()
        trainer.network.train()
    patch = [*plans["configurations"][CONFIGURATION]["patch_size"]]
    for turn in range(STEPS):
        for name, trainer in ready.items():
            batch = random_batch(trainer, torch, patch)
            start = time.perf_counter()
            trainer.train_step(batch)
            if turn >= STEPS // 4:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def random_batch(trainer: Any, torch: Any, patch: list[int]) -> dict[str, Any]:
    """Two images of random numbers with targets at the trainer's resolutions."""
    scales = [
        [round(edge * factor) for edge, factor in zip(patch, scale, strict=True)]
        for scale in trainer._get_deep_supervision_scales()
    ]
    targets = [torch.randint(0, 4, (2, 1, *scale)).float() for scale in scales]
    return {"data": torch.randn(2, 1, *patch), "target": targets}


def dice(trainer: Any) -> dict[str, float]:
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
                scores[organ].append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return {organ: statistics.mean(values) for organ, values in scores.items() if values}


def full_size(
    name: str, patch: tuple[int, ...], spacing: tuple[float, ...], device: str, plans: Path
) -> dict[str, float]:
    """Seconds of 250 training and 50 validation steps, and peak GPU memory, on random images of the full patch.

    The topology is nnU-Net's rule for patch and spacing, 32 features doubling to 320, batch 2.
    """
    import torch
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    folder = plans.parent
    content = json.loads(plans.read_text())
    _, strides, kernels, shape, _ = get_pool_and_conv_props(spacing, patch, 4, 999999)
    configuration = content["configurations"][CONFIGURATION]
    configuration |= {"patch_size": [int(edge) for edge in shape], "spacing": list(spacing), "batch_size": 2}
    configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": len(strides),
        "features_per_stage": [min(320, 32 * 2**stage) for stage in range(len(strides))],
        "kernel_sizes": [list(map(int, kernel)) for kernel in kernels],
        "strides": [list(map(int, stride)) for stride in strides],
        "n_conv_per_stage": [2] * len(strides),
        "n_conv_per_stage_decoder": [2] * (len(strides) - 1),
    }
    trainer = make_trainer(name, content, json.loads((folder / "dataset.json").read_text()), device)
    trainer.initialize()
    batch = random_batch(trainer, torch, [int(edge) for edge in shape])
    on_gpu = device == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    trainer.network.train()
    training = timed_steps(trainer.train_step, batch)
    trainer.network.eval()
    with torch.no_grad():
        validation = timed_steps(trainer.validation_step, batch)
    peak = torch.cuda.max_memory_reserved() / 2**30 if on_gpu else float("nan")
    return {"epoch_seconds": 250 * training + 50 * validation, "peak_gpu_gb": peak, "compiled": trainer._do_i_compile()}


def timed_steps(step: Any, batch: dict[str, Any]) -> float:
    """Median seconds of a step, after the first few, in which the network is compiled."""
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step({**batch, "target": [target.clone() for target in batch["target"]]})
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[STEPS // 2 :])


def kept(file: Path, out: Path, threads: int, *words: object) -> dict[str, Any]:
    """The result of a run that is done, or else of running this script with ``words`` for it."""
    if not file.is_file():
        with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".part", delete=False) as temporary:
            command = [sys.executable, __file__, str(out), "--one", temporary.name, *map(str, words)]
        settings = environment(out) | {"nnUNet_n_proc_DA": "0"} | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
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


def machine(device: str) -> str:
    """One line on where and when this was measured."""
    import torch

    from nnunet_kits import __version__

    name = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}, {os.cpu_count()} CPUs"
    return f"nnunet_kits {__version__}, torch {torch.__version__}, {name}, {datetime.date.today()}"


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


def speed(options: argparse.Namespace, runs: Path) -> None:
    """Time full-size patches and print the table."""
    print("\nAn epoch is 250 training and 50 validation steps of batch 2, loading of data not counted.\n")
    print("| patch | trainer | epoch, s | against stock | peak GPU memory, GB | compiled |\n|---|---|---|---|---|---|")
    for title in FULL_SIZES:
        stock = None
        for name in NETWORKS:
            file = runs / f"{name}.{options.device}.{title.replace(' ', '')}.json"
            found = kept(file, options.out, 0, "--size-run", name, title, "--device", options.device)
            stock = stock or found["epoch_seconds"]
            numbers = (
                f"{found['epoch_seconds']:.1f} | {found['epoch_seconds'] / stock:.2f} | {found['peak_gpu_gb']:.1f}"
            )
            print(f"| {title} | `{name}` | {numbers} | {'yes' if found['compiled'] else 'no'} |", flush=True)


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
    parser.add_argument("--full-size", action="store_true", help="also time full-size patches")
    parser.add_argument("--sgd", action="store_true", help="nnU-Net's SGD in place of AdamW")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=0, help="of a training (default: torch's own choice)")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--steps", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--size-run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out = options.out.resolve()
    if options.one and options.run:
        options.one.write_text(json.dumps(run_one(options.run[0], int(options.run[1]), options)))
        return
    if options.one and options.steps:
        options.one.write_text(json.dumps(step_seconds(list(TRAINERS), options)))
        return
    if options.one:
        name, title = options.size_run
        plans = options.out / "nnUNet_preprocessed" / "Dataset220_KiTS2023" / f"{PLANS}.json"
        options.one.write_text(json.dumps(full_size(name, *FULL_SIZES[title], options.device, plans)))
        return
    runs = options.out / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    prepare(options.out, options.cases, options.size)
    print(machine(options.device))
    learning(options, runs)
    if options.full_size:
        speed(options, runs)


if __name__ == "__main__":
    main()
