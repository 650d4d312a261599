"""What runs the networks: torch, or OpenVINO on a CPU. Nothing of either is imported here."""

import importlib.util
from typing import Literal

from nnunet_kits.errors import InferenceError

Backend = Literal["torch", "openvino"]
BACKENDS: tuple[Backend, ...] = ("torch", "openvino")


def check_backend(backend: str, device: str) -> None:
    """Refuse a backend that cannot run here.

    Args:
        backend: one of ``BACKENDS``.
        device: ``cpu``, ``cuda`` or ``mps``.

    Raises:
        InferenceError: unknown, not installed, or asked for on another device than the CPU.
    """
    if backend not in BACKENDS:
        raise InferenceError(f"backend {backend!r}: is {' or '.join(BACKENDS)}.")
    if backend == "torch":
        return
    if device != "cpu":
        raise InferenceError(
            f"backend {backend} runs on the CPU, not on {device}. Pass --device cpu, or leave --backend out."
        )
    if importlib.util.find_spec(backend) is None:
        raise InferenceError(f"backend {backend} is not installed. Run: pip install 'nnunet_kits[cpu]'")
