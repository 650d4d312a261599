"""Hours and memory of a GPU: convolutions over a rate, outputs of layers over two constants; plain arithmetic."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

TFLOPS = 55.0
"""10^12 operations a second that an A100 does under nnU-Net in half precision.

What the four runtimes of nnU-Net Revisited on KiTS23 make of the operations of their networks is 47, 53, 60 and 58.
"""

FLOAT32 = 0.5
"""The share of that rate which networks in single precision reach; a guess, for which nothing is measured."""

BASE_GB, BYTES_AN_OUTPUT = 3.3, 1.89
"""GPU memory that is always there, and bytes for each element that a layer gives: fits nnU-Net Revisited's smallest and
largest network, and its other two within 5 %."""

BACKWARD = 2
"""Passes backward cost as much as so many forward."""

ITERATIONS, VALIDATION_ITERATIONS = 250, 50
"""Of nnU-Net's epochs."""


@dataclass(frozen=True)
class Assumptions:
    """What a reckoning rests on.

    Attributes:
        tflops: 10^12 operations of convolutions a second, in half precision.
        seconds_per_iteration: of a training: measured or given; ``""`` for every member, or a member's key.
    """

    tflops: float = TFLOPS
    seconds_per_iteration: Mapping[str, float] = field(default_factory=dict)

    def given(self, key: str) -> float | None:
        """Seconds of an iteration of a member that somebody measured."""
        return self.seconds_per_iteration.get(key, self.seconds_per_iteration.get(""))

    def told(self) -> list[str]:
        """In words."""
        lines = [
            f"{self.tflops:g} TFLOP/s in half precision, {self.tflops * FLOAT32:g} in single; "
            f"an A100 under nnU-Net does {TFLOPS:g}",
            "an iteration is three passes forward; loading is never waited for; each CT is of the usual size",
            f"GPU memory is {BASE_GB} GB and {BYTES_AN_OUTPUT} bytes for every element that a layer gives, in single "
            "precision twice as many",
        ]
        for key, seconds in self.seconds_per_iteration.items():
            lines.append(f"{key or 'every training'}: {seconds:g} s an iteration, as given")
        return lines


@dataclass(frozen=True)
class Work:
    """What there is to do for one fold of a member.

    Attributes:
        parameters: of the network.
        forward_tflop: of one image.
        outputs: elements that its layers give for one image.
        patch_size: voxels of an image.
        batch_size: images of an iteration.
        epochs: of the training.
        iterations: of an epoch.
        validation_iterations: of an epoch; only forward.
        shape: voxels of a usual CT on the network's grid.
        flips: of a window that prediction averages over, itself counted.
        validated: cases that the fold validates at the end.
        mixed_precision: whether the network computes in half precision.
    """

    parameters: int
    forward_tflop: float
    outputs: int
    patch_size: tuple[int, ...]
    batch_size: int
    epochs: int
    shape: tuple[int, ...]
    flips: int = 8
    validated: float = 0
    iterations: int = ITERATIONS
    validation_iterations: int = VALIDATION_ITERATIONS
    mixed_precision: bool = True


@dataclass(frozen=True)
class Cost:
    """Of a GPU.

    Attributes:
        seconds_per_iteration: of the training.
        training_hours: of one fold.
        validation_hours: of one fold's final validation.
        image_seconds: of one image once forward.
        gpu_gb: at most, in training.
    """

    seconds_per_iteration: float
    training_hours: float
    validation_hours: float
    image_seconds: float
    gpu_gb: float


def cost_of(work: Work, key: str = "", assumptions: Assumptions = Assumptions()) -> Cost:
    """The cost of one fold.

    Args:
        work: to be done.
        key: of the member, by which a measured time is found.
        assumptions: rate, or times.
    """
    rate = assumptions.tflops * (1 if work.mixed_precision else FLOAT32)
    forward = work.forward_tflop * work.batch_size / rate
    seconds = assumptions.given(key) or (1 + BACKWARD) * forward
    forward = seconds / (1 + BACKWARD)
    epoch = work.iterations * seconds + work.validation_iterations * forward
    memory = BYTES_AN_OUTPUT * (1 if work.mixed_precision else 2) * work.outputs * work.batch_size / 1e9
    image = forward / work.batch_size
    validation = work.validated * windows_of(work.shape, work.patch_size) * work.flips * image
    return Cost(seconds, work.epochs * epoch / 3600, validation / 3600, image, BASE_GB + memory)


def windows_of(shape: Sequence[int], patch_size: Sequence[int], step: Sequence[float] = (0.5, 0.5, 0.5)) -> int:
    """Windows over a volume, nnU-Net's; slices of a two-dimensional patch one by one."""
    patch = (*([1] * (len(shape) - len(patch_size))), *patch_size)
    steps = (*([1.0] * (len(shape) - len(patch_size))), *step[len(shape) - len(patch_size) :])
    return math.prod(
        math.ceil(max(0, size - edge) / (edge * share)) + 1
        for size, edge, share in zip(shape, patch, steps, strict=True)
    )
