"""Runs through a real SLURM of one node, which start.sh starts: ``pytest -m slurm -n 0``."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from cheap_steps import counted, events, folder_of, run, session, start, wait_until

from nnunet_kits.cli.main import main
from nnunet_kits.errors import WorkflowError
from nnunet_kits.workflow.folder import RUNNING

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A SLURM that is up, or a skip with the reason."""
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([HERE / "start.sh", folder], capture_output=True, text=True, check=False)
    if started.returncode:
        subprocess.run([HERE / "stop.sh", folder], check=False)
        pytest.skip((started.stderr.strip() or "SLURM: cannot be started").splitlines()[-1])
    yield folder
    subprocess.run([HERE / "stop.sh", folder], check=False)


def queued(*which):
    """Jobs that wait or run, or others."""
    command = ["squeue", "-h", "-o", "%i", *which]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_a_failed_fold_leaves_the_others_going_on_slurm_too(slurm, tmp_path, caplog):
    caplog.set_level("INFO")
    steps = [
        counted("convert", "[ -n $SLURM_JOB_ID ]"),
        counted("train_fold0", "echo RuntimeError: no memory; exit 3", "convert"),
        counted("train_fold1", "sleep 1", "convert", hours=0.1),
        counted("predict", "", "train_fold0", "train_fold1"),
    ]
    found = run(tmp_path, steps, profile="slurm")
    assert {name: outcome.state for name, outcome in found.items()} == {
        **{"convert": "done", "train_fold0": "failed", "train_fold1": "done", "predict": "waiting"}
    }
    assert found["train_fold0"].error == "RuntimeError: no memory"
    assert any("] train_fold1: begun as job " in record.message for record in caplog.records)
    assert queued() == []


def test_jobs_outlive_a_kill_of_the_run_and_ctrl_c_cancels_them(slurm, tmp_path):
    steps = [counted("long", "[ -e go ] || sleep 600", hours=0.5), counted("after", "", "long")]
    process = start(tmp_path, steps, "slurm")
    marked = folder_of(tmp_path).mark_file(RUNNING, "long")
    wait_until(marked.exists, 180)
    process.kill()
    process.communicate()
    wait_until(lambda: session(process.pid) == [], 10)  # but for the job, which is no child of it
    (job,) = queued()
    with pytest.raises(WorkflowError, match=rf"jobs in SLURM's queue.*scancel {job}$"):
        run(tmp_path, steps, profile="slurm")
    subprocess.run(["scancel", job], check=True)
    wait_until(lambda: queued() == [], 90)

    process = start(tmp_path, steps, "slurm")
    wait_until(lambda: events(tmp_path) == ["begin long", "begin long"], 180)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=150)  # Snakemake is given 120 s
    assert process.returncode == 130
    wait_until(lambda: queued() == [], 90)

    (folder_of(tmp_path).path / "go").touch()
    found = run(tmp_path, steps, profile="slurm")
    assert {name: outcome.state for name, outcome in found.items()} == {"long": "done", "after": "done"}


def test_the_smoke_recipe_goes_from_phantoms_to_a_report(slurm, tmp_path, capfd):
    assert main(["run", "smoke", "--smoke", "--root", str(tmp_path), "--device", "cpu", "--profile", "slurm"]) == 0
    out = capfd.readouterr().out
    assert "19 of 19 steps are done: 19 now, 0 before." in out
    assert (tmp_path / "runs" / "smoke" / "report.html").is_file()
    assert len(queued("-t", "COMPLETED")) >= 19
