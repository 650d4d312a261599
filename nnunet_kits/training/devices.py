"""Whether this machine has what a network is to run on: asked before anything is loaded or made for it."""

import torch

from nnunet_kits.errors import KitsError


def check_device(device: str, error: type[KitsError] = KitsError) -> None:
    """Refuse a kind of device that torch cannot use here.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``.
        error: its type.

    Raises:
        KitsError: of that type.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, True):
        built = torch.version.cuda if device == "cuda" else torch.backends.mps.is_built()
        why = "finds none here" if built else "is installed without support for it"
        raise error(f"--device {device}: torch {why}. Give --device cpu, or see what nnunet_kits doctor says of it.")
