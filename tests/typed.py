"""Commands as a user types them, run in this process: starting Python and torch for each takes longer than they do."""

import importlib
import importlib.metadata
import os
import shlex
import sys
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import pytest

from nnunet_kits.cli.main import main

POOLS = (
    "experiment_planning.dataset_fingerprint.fingerprint_extractor",
    "evaluation.evaluate_predictions",
    "training.nnUNetTrainer.nnUNetTrainer",
)
"""Modules of nnU-Net that start processes for the fingerprint, for the validation's files and for its scores."""


def type_line(line: str) -> None:
    """Run a command. Variables are expanded; one that fails, fails the test."""
    program, *words = shlex.split(os.path.expandvars(line))
    with pytest.MonkeyPatch.context() as patch:
        work_in_threads(patch)
        if program == "nnunet_kits":
            assert main(words) == 0, line
            return
        (entry,) = importlib.metadata.entry_points(group="console_scripts", name=program)
        patch.setattr(sys, "argv", [program, *words])
        entry.load()()


def work_in_threads(patch: pytest.MonkeyPatch) -> None:
    """Let nnU-Net's pools be of threads: each of its processes takes seconds to import torch, for tenths of work."""
    threads = SimpleNamespace(get_context=lambda method: SimpleNamespace(Pool=ThreadPool))
    for name in POOLS:
        patch.setattr(importlib.import_module(f"nnunetv2.{name}"), "multiprocessing", threads)
