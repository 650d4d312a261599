"""How Snakemake is called."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import write_text
from nnunet_kits.errors import WorkflowError
from nnunet_kits.machine import available_memory_bytes, visible_gpus
from nnunet_kits.recipes.steps import Step
from nnunet_kits.workflow.cards import CARDS
from nnunet_kits.workflow.folder import LEFT, RunFolder
from nnunet_kits.workflow.profile import SLURM, Profile
from nnunet_kits.workflow.queue import has_accounting, job_prefix

STATUS = "slurm-status-command"
SNAKEFILE = Path(__file__).resolve().with_name("Snakefile")


def write_left(folder: RunFolder, left: Sequence[Step]) -> None:
    """Write what the Snakefile makes its rules of: each step, the steps before it that are left too, its resources."""
    names = {step.name for step in left}
    content = [
        {"name": step.name, "after": [name for name in step.after if name in names], "resources": _resources(step)}
        for step in left
    ]
    write_text(folder.path / LEFT, json.dumps(content, indent=2))


def _resources(step: Step) -> dict[str, int]:
    """In Snakemake's units: megabytes and minutes."""
    given = step.resources
    found = {"mem_mb": given.memory_gb * 1000, "disk_mb": given.disk_gb * 1000, "runtime": given.hours * 60}
    whole: dict[str, int] = {name: math.ceil(value) for name, value in found.items()}
    whole["cpus_per_task"] = given.cpus
    return whole | ({"gpu": given.gpus} if given.gpus else {})


def snakemake_command(folder: RunFolder, profile: Profile, jobs: int | None, cards: Sequence[str]) -> list[str]:
    """The command that runs what is left.

    Args:
        folder: of the run.
        profile: where the steps run.
        jobs: steps at once; None for one a graphics card on this machine, and for what the profile says elsewhere.
        cards: those of this machine that may be used.
    """
    command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--directory", str(folder.path)]
    command += ["--profile", str(profile.file), "--workflow-profile", "none"]
    command += ["--keep-going", "--rerun-incomplete", "--nolock"]  # we have our own lock, which no kill leaves behind
    if profile.is_local:
        command += ["--cores", str(jobs or max(1, len(cards)))]
        limits: dict[str, Any] = {"gpu": len(cards)} if cards else {}
        if (free := available_memory_bytes()) is not None:
            limits["mem_mb"] = max(1, free // 1_000_000)
        command += ["--resources", *(f"{name}={value}" for name, value in limits.items())] if limits else []
    elif jobs:
        command += ["--jobs", str(jobs)]
    if profile.executor == SLURM:
        if STATUS not in profile.options and not has_accounting():
            command += [f"--{STATUS}", "squeue"]
        command += [
            "--slurm-jobname-prefix",
            job_prefix(folder.root),
            "--slurm-logdir",
            str(folder.log("slurm").with_suffix("")),
        ]
    return command


def cards_of(profile: Profile, left: Sequence[Step]) -> list[str]:
    """The graphics cards of this machine that the steps may use.

    Raises:
        WorkflowError: a step needs more than there are.
    """
    needed = max((step.resources.gpus for step in left), default=0) if profile.is_local else 0
    cards = visible_gpus() if needed else []
    if needed > len(cards):
        step = next(step for step in left if step.resources.gpus == needed)
        raise WorkflowError(
            f"{step.name} needs {needed} graphics cards, and {len(cards)} can be seen here (nvidia-smi -L, "
            "CUDA_VISIBLE_DEVICES). Give --device cpu, or --profile slurm."
        )
    return cards


def variables_for(cards: Sequence[str]) -> dict[str, str]:
    """The variables by which steps on this machine know the cards that they may take."""
    return {CARDS: ",".join(cards)}
