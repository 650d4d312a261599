"""``benchmarks/gpu.py`` works the first time that anybody has a GPU: small and on a CPU it goes the same way."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PROGRAM = BENCHMARKS / "gpu.py"


@pytest.fixture
def benchmarks(monkeypatch):
    """Makes the scripts importable."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def run(*words, timeout=None):
    command = [sys.executable, str(PROGRAM), "--device", "cpu", "--small", *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("nnUNet_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)


@pytest.mark.slow
def test_training_runs_small_on_a_cpu_and_its_rows_are_written(tmp_path):
    written = ("--out", tmp_path / "gpu.json", "--work", tmp_path / "work")
    done = run("--minutes", 60, "--parts", "train", "--workers", 1, "--seconds", 0.5, *written)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert [row["step"] for row in results["data"]] == ["phantoms", "plans", "preprocess"]
    train = results["train"]
    assert [row["network"] for row in train if row["loading"].startswith("none")] == ["ResUNet", "ResEnc L"]
    assert {row["processes"] for row in train if "processes" in row} == {1}
    assert {"stock"} <= {row["loading"] for row in train}
    assert all(
        row["ms an iteration"] > 0 and row["s an epoch"] == pytest.approx(row["ms an iteration"] / 4) for row in train
    )
    assert "| ResEnc L | 32x32x32 |" in done.stdout


def test_a_run_that_has_no_time_ends_and_says_so(tmp_path):
    done = run("--minutes", 0.01, "--out", tmp_path / "gpu.json", timeout=120)
    assert done.returncode == 1
    assert "for lack of time" in done.stdout
    assert "left out for want of data: predict, agree, train" in done.stdout
    assert json.loads((tmp_path / "gpu.json").read_text())["results"] == {}


def test_a_part_leaves_the_later_ones_their_least_time(benchmarks, monkeypatch):
    import gpu

    run = gpu.Run.__new__(gpu.Run)
    run.options = argparse.Namespace(minutes=8)
    run.end, run.parts = 1480.0, ["data", "models", "predict", "agree", "train"]
    monkeypatch.setattr(gpu.time, "time", lambda: 1000.0)
    assert run.deadline("data") == 1000 + gpu.LIMITS["data"]
    monkeypatch.setattr(gpu.time, "time", lambda: 1200.0)
    assert run.deadline("predict") == 1480 - gpu.LEAST["agree"] - gpu.LEAST["train"]
    assert run.deadline("train") == 1480.0


def test_the_mean_of_nvidia_smi_is_taken_over_the_time_asked_for(benchmarks):
    import gpu

    watch = gpu.Watch.__new__(gpu.Watch)
    watch.samples = [(1.0, 10.0, 500.0), (2.0, 30.0, 700.0), (3.0, 50.0, 900.0)]
    assert watch.between(1.5, 3.0).tolist() == [[30.0, 700.0], [50.0, 900.0]]
    assert watch.between(4.0, 5.0).shape == (0, 2)


def test_a_patch_of_the_cascade_carries_the_coarse_labels_of_its_own_place(benchmarks):
    import gpu_models
    import torch

    draw = gpu_models.Patches.__new__(gpu_models.Patches)
    draw.labels = [1, 2, 3]
    truth = torch.zeros(1, 6, 6, 6)
    truth[0, :3] = 2
    found = draw._coarse(truth)
    assert found.shape == (3, 6, 6, 6)
    assert torch.equal(found[1], (truth[0] == 2).float())
    assert found[[0, 2]].sum() == 0


def test_a_loader_is_drained_until_a_batch_has_to_be_waited_for(benchmarks, monkeypatch):
    import gpu_training

    clock = [0.0]
    waits = iter([0.001, 0.001, 0.5, 0.001])

    def batches():
        for number in range(4):
            clock[0] += next(waits)
            yield number

    monkeypatch.setattr(gpu_training.time, "perf_counter", lambda: clock[0])
    trained = []
    gpu_training.drain(batches(), trained.append, 4, alone=100.0)
    assert trained == [0, 1]


def test_the_enlarged_phantom_keeps_its_labels_in_place(benchmarks):
    import gpu_data

    scale = gpu_data.Scale(32, 8.0, 2, 4.0, 1, (8.0, 4.0), 32, (4, 8), 1e-3, (1, 1), 32, (False,))
    image, label, spacing = gpu_data.render(0, scale)
    assert image.shape == label.shape
    assert image.shape[1:] == (64, 64)
    assert spacing == (4.0, 6.25, 6.25)
    kidneys = image[label == 1].astype(float)
    assert 100 < np.median(kidneys) < 300  # enhanced kidney, not the fat around it
