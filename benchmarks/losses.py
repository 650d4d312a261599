"""Time and memory of forward and backward of every loss, against nnU-Net's own on the same tensors.

    python benchmarks/losses.py
    python benchmarks/losses.py --device cuda --mixed --size 80 160 160

nnU-Net's own is DC_and_CE_loss for classes and DC_and_BCE_loss for regions. A loss and nnU-Net's are timed in turns,
each first every other time; the ratio is the median over the turns. Memory is the most that is held at once beyond
logits and target.
"""

import argparse
import datetime
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn

from nnunet_kits.losses import LOSSES, LossTask
from nnunet_kits.losses.build import build_loss

IGNORED = 4
TASKS = {
    "classes": LossTask(False, None, batch_dice=True, ddp=False, class_weights=(0.1, 0.5, 1.4, 2.0)),
    "classes, ignore label": LossTask(False, IGNORED, batch_dice=True, ddp=False, class_weights=(0.1, 0.5, 1.4, 2.0)),
    "regions": LossTask(True, None, batch_dice=True, ddp=False, class_weights=(5.0, 10.0, 12.0)),
    "regions, ignore label": LossTask(True, IGNORED, batch_dice=True, ddp=False, class_weights=(5.0, 10.0, 12.0)),
}


def tensors(task: LossTask, size: list[int], device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Logits (2, heads, ...) half right, and a target of balls within each other: kidney, cyst, tumour."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
    radius = torch.stack(axes).square().sum(0).sqrt()
    label = torch.zeros(2, 1, *size)
    for value, reach in ((1, 0.5), (3, 0.3), (2, 0.2)):
        label[:, :, radius < reach] = value
    regions = torch.cat([label > 0, label > 1, label == 2], 1)
    classes = torch.cat([label == value for value in range(4)], 1)
    truth = regions if task.has_regions else classes
    logits = torch.randn(truth.shape, generator=generator) * 2 + truth * 4 - 2
    ignored = torch.zeros_like(label, dtype=torch.bool)
    ignored[:, :, : size[0] // 8] = task.ignore_label is not None
    if task.has_regions:
        target = torch.cat([regions, ignored], 1) if task.ignore_label is not None else regions
    else:
        target = label.masked_fill(ignored, IGNORED).to(torch.int16)
    return logits.to(device, dtype), target.to(device)


def nnunets(task: LossTask, compiled: bool) -> nn.Module:
    """What nnUNetTrainer builds; it compiles the Dice where it compiles the network."""
    dice = {"batch_dice": task.batch_dice, "smooth": 1e-5, "do_bg": task.has_regions, "ddp": False}
    kind = {"dice_class": MemoryEfficientSoftDiceLoss}
    if task.has_regions:
        loss = DC_and_BCE_loss({}, dice, use_ignore_label=task.ignore_label is not None, **kind)
    else:
        loss = DC_and_CE_loss(dice, {}, ignore_label=task.ignore_label, **kind)
    if compiled:
        loss.dc = torch.compile(loss.dc)
    return loss


def measure(
    loss: nn.Module, given: tuple[Tensor, Tensor], device: str, context: Callable[[], AbstractContextManager]
) -> float:
    """Milliseconds of forward and backward."""
    logits, target = given
    logits = logits.detach().requires_grad_()
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    with context():
        value = loss(logits, target)
    value.backward()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3


def peak_mib(
    loss: nn.Module, given: tuple[Tensor, Tensor], device: str, context: Callable[[], AbstractContextManager]
) -> float:
    """Most memory held at once, the gradient included, logits and target not."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        measure(loss, given, device, context)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        measure(loss, given, device, context)
    held = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most / 2**20


def main() -> None:
    """Measure and print a table for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="+", default=[48, 96, 96], help="voxels of a patch")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--mixed", action="store_true", help="float16 logits under autocast, as nnU-Net has on a GPU")
    parser.add_argument("--compile", action="store_true", help="nnU-Net's Dice and the whole of ours compiled")
    parser.add_argument("losses", nargs="*", default=list(LOSSES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.mixed and options.device == "cpu":
        parser.error("nnU-Net trains in mixed precision on a GPU only")

    def context() -> AbstractContextManager:
        return torch.autocast(options.device, torch.float16, enabled=options.mixed)

    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, {options.threads} thread(s)"
    if options.device == "cuda":
        machine = torch.cuda.get_device_name()
    dtype = torch.float16 if options.mixed else torch.float32
    size = " x ".join(map(str, options.size))
    print(f"{machine}, torch {torch.__version__}, {datetime.date.today()}")
    print(f"batch of 2, {size} voxels, {dtype} logits, {options.turns} turns")
    worst = 0.0
    for kind, task in TASKS.items():
        given = tensors(task, options.size, options.device, dtype)
        own = nnunets(task, options.compile)
        own_peak = peak_mib(own, given, options.device, context)
        print(f"\n{kind:22} {'ms':>8} {'nnU-Net ms':>11} {'ratio':>6} {'MiB':>7} {'nnU-Net MiB':>12}")
        for name in options.losses:
            loss = build_loss(name, task)
            if options.compile:
                loss = torch.compile(loss)
            for warm in (own, loss):
                measure(warm, given, options.device, context)
            pairs = []
            for turn in range(options.turns):
                order = (loss, own) if turn % 2 else (own, loss)
                times = {id(which): measure(which, given, options.device, context) for which in order}
                pairs.append((times[id(loss)], times[id(own)]))
            ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            worst = max(worst, ratio)
            peak = peak_mib(loss, given, options.device, context)
            print(f"{name:22} {ours:8.1f} {theirs:11.1f} {ratio:6.2f} {peak:7.0f} {own_peak:12.0f}", flush=True)
    print(f"\nlargest ratio: {worst:.2f}")
    sys.exit(worst > 1.3)


if __name__ == "__main__":
    main()
