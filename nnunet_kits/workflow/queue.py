"""What SLURM says: of jobs that an earlier run has left, which go on when the run that queued them is killed."""

import hashlib
import subprocess
from pathlib import Path

from nnunet_kits.errors import WorkflowError
from nnunet_kits.workflow.profile import SLURM, Profile


def job_prefix(root: Path) -> str:
    """How the names of SLURM jobs begin: the same for all recipes of a root, and for no other's."""
    return f"kits_{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:10]}"


def has_accounting() -> bool:
    """Whether SLURM keeps accounts of jobs here; without them ``sacct`` is there all the same, and fails."""
    try:
        return subprocess.run(["sacct", "-n", "-X"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def refuse_jobs_left(root: Path, profile: Profile) -> None:
    """Refuse to queue steps a second time.

    Raises:
        WorkflowError: SLURM's queue holds jobs of a run in this root; or it cannot be asked.
    """
    if profile.executor != SLURM:
        return
    try:
        told = subprocess.run(
            ["squeue", "--me", "-h", "-o", "%i %j"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise WorkflowError(f"{profile.file}: SLURM's squeue cannot be run here ({error.strerror}).") from error
    if told.returncode:
        raise WorkflowError(f"{profile.file}: SLURM's squeue fails: {' '.join(told.stderr.split())}")
    rows = [line.split(maxsplit=1) for line in told.stdout.splitlines()]
    jobs = [row[0] for row in rows if len(row) == 2 and row[1].startswith(job_prefix(root))]
    if jobs:
        raise WorkflowError(
            f"{root}: an earlier run that was killed has left jobs in SLURM's queue. Wait for them (squeue "
            f"--me), or end them: scancel {' '.join(jobs)}"
        )
