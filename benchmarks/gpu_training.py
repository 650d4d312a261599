"""What feeds a GPU, for `gpu.py`: milliseconds of a training iteration on one fixed batch, and out of a loader."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_data import ITERATIONS_PER_EPOCH, PLANS, RESENC_PLANS
from trainers import described, make_trainer, random_batch

NETWORKS = {"ResUNet": ("ResUNetTrainer", PLANS), "ResEnc L": ("PlannedUNetTrainer", RESENC_PLANS)}
"""Name in the table -> trainer, and plans whose ``3d_fullres`` it trains."""

STOCK_LOADING = "NNUNET_KITS_STOCK_LOADING"
LOADINGS = ("ours", "stock")
CACHED = 6
"""Batches that nnU-Net's loader keeps ready, with up to 12 workers."""

COMPILING_S = 45.0
"""Compiling a network takes about so long."""

WARMING = 8
"""Batches in which all but surely every transform has had its turn."""


def measure(
    folder: Path, name: str, device: str, workers: list[int], seconds: float, until: float
) -> Iterator[dict[str, Any]]:
    """Time one network; a row as soon as it is known.

    Args:
        folder: with the data.
        name: key of :data:`NETWORKS`.
        device: ``cuda`` or ``cpu``.
        workers: numbers of loading processes, in the order in which they are tried.
        seconds: how long to look at each loader.
        until: time of day after which no further loader is begun.
    """
    trainer_name, plans_name = NETWORKS[name]
    plans, dataset = described(folder, plans_name)
    trainer = make_trainer(trainer_name, plans, "3d_fullres", dataset, device)
    torch.backends.cudnn.benchmark = device == "cuda"  # as nnUNetv2_train does
    if device == "cuda":
        torch.set_num_threads(1)  # as nnUNetv2_train does; the loading processes inherit it
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    patch = [int(edge) for edge in trainer.configuration_manager.patch_size]
    about = {"network": name, "patch": "x".join(map(str, patch)), "batch": trainer.batch_size}
    batch = random_batch(trainer)
    if device == "cuda":
        batch = {"data": batch["data"].pin_memory(), "target": [tensor.pin_memory() for tensor in batch["target"]]}
    turns = 25 if device == "cuda" else 4
    alone = fixed(trainer, batch, turns)
    on_gpu = device == "cuda"
    gpu = {"GPU MB, PyTorch": torch.cuda.max_memory_reserved() / 2**20} if on_gpu else {}
    yield {**about, "loading": "none, one batch", **timed(alone, alone), **gpu}
    compile_kernels(trainer)
    for count in workers:
        for loading in LOADINGS:
            if time.time() + seconds > until:
                yield {**about, "loading": loading, "processes": count, "left out": "no time"}
                continue
            yield {**about, "loading": loading, "processes": count, **loaded(trainer, loading, count, seconds, alone)}
    if on_gpu and time.time() + COMPILING_S < until:
        yield {**about, **compiled(trainer, batch, turns)}


def compile_kernels(trainer: Any) -> None:
    """Make some batches of ours in this process, so that its workers find compiled what is compiled at first use."""
    os.environ["nnUNet_n_proc_DA"], os.environ[STOCK_LOADING] = "0", "0"
    training, _ = trainer.get_dataloaders()
    for _ in range(WARMING):
        next(training)


def compiled(trainer: Any, batch: dict[str, Any], turns: int) -> dict[str, Any]:
    """The same fixed batch with a compiled network, as nnU-Net trains unless told otherwise; it takes long."""
    start = time.perf_counter()
    try:
        trainer.network = torch.compile(trainer.network)
        fixed(trainer, batch, 2)
    except Exception as error:  # without a C compiler, for one
        return {
            "loading": "none, one batch, network compiled",
            "left out": f"{type(error).__name__}: {error}".splitlines()[0],
        }
    compiling = time.perf_counter() - start
    ms = fixed(trainer, batch, turns)
    return {"loading": f"none, one batch, network compiled in {compiling:.0f} s", **timed(ms, ms)}


def timed(ms: float, alone: float) -> dict[str, float]:
    """Milliseconds of an iteration, what they make of an epoch, and how much of it the network is busy."""
    busy = min(100.0, 100 * alone / ms)
    return {"ms an iteration": ms, "s an epoch": ms * ITERATIONS_PER_EPOCH / 1000, "GPU busy, %": busy}


def fixed(trainer: Any, batch: dict[str, Any], turns: int) -> float:
    """Median milliseconds of a training step, the first few left out."""
    found = []
    for _ in range(turns):
        start = time.perf_counter()
        trainer.train_step(batch)
        found.append(1000 * (time.perf_counter() - start))
    return statistics.median(found[min(5, turns // 2) :])


def loaded(trainer: Any, loading: str, workers: int, seconds: float, alone: float) -> dict[str, Any]:
    """Train out of a loader for some seconds, once what it had made in advance is used up."""
    os.environ["nnUNet_n_proc_DA"] = str(workers)
    os.environ[STOCK_LOADING] = "1" if loading == "stock" else "0"
    start = time.perf_counter()
    training, validation = trainer.get_dataloaders()
    first = time.perf_counter() - start
    validation._finish()
    try:
        drain(training, trainer.train_step, CACHED + workers, alone)
        begun, waited, count, start = time.time(), 0.0, 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds or count < 4:
            if spent > 3 * seconds:
                break
            asked = time.perf_counter()
            batch = next(training)
            waited += time.perf_counter() - asked
            trainer.train_step(batch)
            count += 1
        ms = 1000 * (time.perf_counter() - start) / count
    finally:
        training._finish()
    return {
        **timed(ms, alone),
        "waiting, ms": 1000 * waited / count,
        "iterations": count,
        "first batches s": first,
        "between": [begun, time.time()],
    }


def drain(loader: Any, step: Callable[[Any], Any], most: int, alone: float) -> None:
    """Train until a batch has to be waited for, or as many were used as a loader may have made in advance."""
    for _ in range(most):
        asked = time.perf_counter()
        batch = next(loader)
        if 1000 * (time.perf_counter() - asked) > max(20.0, 0.3 * alone):
            return
        step(batch)
