import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kits_trees import image_of, make_tree, save

from nnunet_kits.cases.parallel import run_or_skip
from nnunet_kits.conversion.cases import Case
from nnunet_kits.conversion.memory import CONVERTING, Appetite, default_workers
from nnunet_kits.errors import ConversionError, KitsError
from nnunet_kits.machine import cpu_count

CASES = [Case(f"case_{number:05d}", Path("image"), Path("label")) for number in range(6)]


def convert_cases(function, cases, workers, skip_bad):
    tasks = {case.name: case for case in cases}
    return run_or_skip(function, tasks, workers, "convert", ConversionError if skip_bad else None)


def work(folder: Path, bad: tuple[int, ...], deadly: tuple[int, ...], case: Case) -> dict[str, str]:
    """Leave a trace; fail for some cases, kill its own process for others."""
    if case.number in deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    if case.number in bad:
        raise ConversionError(f"{case.name}: bad")
    (folder / case.name).touch()
    return {"case": case.name}


@pytest.mark.parametrize("workers", [1, 2])
def test_every_case_is_worked_on_once(tmp_path, workers):
    done, failed = convert_cases(functools.partial(work, tmp_path, (), ()), CASES, workers, skip_bad=False)
    assert sorted(result["case"] for result in done) == [case.name for case in CASES]
    assert failed == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_bad_case_stops_the_rest(tmp_path, workers):
    with pytest.raises(ConversionError, match=r"case_0000[01]: bad"):
        convert_cases(functools.partial(work, tmp_path, (0, 1), ()), CASES, workers, skip_bad=False)
    assert not (tmp_path / "case_00005").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_skip_bad_goes_on_and_lists_every_bad_case(tmp_path, workers):
    done, failed = convert_cases(functools.partial(work, tmp_path, (1, 3), ()), CASES, workers, skip_bad=True)
    assert len(done) == 4
    assert failed == {"case_00001": "case_00001: bad", "case_00003": "case_00003: bad"}


def test_a_worker_that_dies_is_an_error_that_names_its_case(tmp_path):
    with pytest.raises(KitsError, match=r"A worker died on .*case_00002.*-np 1"):
        convert_cases(functools.partial(work, tmp_path, (), (2,)), CASES, 2, skip_bad=True)


def test_no_case_needs_no_worker(tmp_path):
    assert convert_cases(functools.partial(work, tmp_path, (), ()), [], 2, skip_bad=False) == ([], {})


def test_there_are_as_many_workers_as_the_largest_case_leaves_memory_for(monkeypatch):
    monkeypatch.setattr("nnunet_kits.cases.memory.cpu_count", lambda: 8)
    monkeypatch.setattr("nnunet_kits.cases.memory.available_memory_bytes", lambda: 10_000_000_000)
    large = Appetite(bytes_per_voxel=20, bytes_beside=1000)
    assert large.workers([90_000_000] * 20) == 4  # 1.8 GB each, in 8 of 10 GB
    assert large.workers([1000] * 20) == 8  # a worker a CPU
    assert large.workers([1000] * 3) == 3  # a worker a case
    assert large.workers([10**9]) == 1  # one in any case
    assert large.workers([]) == 1


def test_unknown_memory_leaves_the_number_of_cpus(monkeypatch):
    monkeypatch.setattr("nnunet_kits.cases.memory.cpu_count", lambda: 8)
    monkeypatch.setattr("nnunet_kits.cases.memory.available_memory_bytes", lambda: None)
    assert CONVERTING.workers([10**9] * 20) == 8


def test_a_small_tree_is_converted_in_this_process(tmp_path):
    image = save(tmp_path / "imaging.nii.gz", image_of(1))
    assert default_workers([Case("case_00001", image, None)] * 8) == 1


def test_a_file_that_cannot_be_read_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr("nnunet_kits.conversion.memory.SMALL_VOXELS", 0)
    assert default_workers([Case("case_00001", tmp_path / "none.nii.gz", None)]) == 1


def test_this_process_may_use_at_least_one_cpu(monkeypatch):
    assert 1 <= cpu_count() <= multiprocessing.cpu_count()
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cpu_count() == multiprocessing.cpu_count()


def test_after_a_kill_the_same_command_does_only_what_is_left(tmp_path):
    tree = make_tree(tmp_path / "kits", training=range(40))
    environment = {**os.environ, "nnUNet_raw": str(tmp_path / "raw"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nnunet_kits.cli.main", "convert", "--year", "23", str(tree), "-np", "2"]
    records = tmp_path / "raw" / "Dataset220_KiTS2023" / ".conversion"
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while len(list(records.glob("*.json"))) < 3:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.kill()
    process.communicate()  # returns when the workers, which hold the same pipe, have ended too
    finished = {path.name: path.stat().st_mtime_ns for path in records.glob("*.json")}
    assert 3 <= len(finished) < 40
    assert not (records.parent / "dataset.json").exists()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"40 training and 0 test cases, {40 - len(finished)} of them converted now" in again.stdout
    assert {name: (records / name).stat().st_mtime_ns for name in finished} == finished
    assert not [p for p in records.parent.rglob("*") if p.name.endswith((".part", ".staging"))]
