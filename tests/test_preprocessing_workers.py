"""Workers of preprocessing: as many as fit, and one clear error. Imports nothing heavy, for workers import it again."""

import os
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nnunet_kits.errors import KitsError, PreprocessingError
from nnunet_kits.preprocessing import workers
from nnunet_kits.preprocessing.workers import bytes_needed, fitting_workers, run_tasks

CASES = [f"case_{number:05d}" for number in range(5)]


def test_as_many_workers_as_the_largest_case_leaves_memory_for(monkeypatch):
    monkeypatch.setattr(workers, "cpu_count", lambda: 8)
    monkeypatch.setattr(workers, "available_memory_bytes", lambda: 10_000_000_000)
    needs = {f"case_{number}": 2_000_000_000 for number in range(9)}
    assert fitting_workers(needs, None) == 4
    assert fitting_workers({**needs, "large": 8_000_000_000}, None) == 1
    assert fitting_workers({**needs, "large": 8_000_000_000}, 3) == 3
    assert fitting_workers({"only": 1}, 5) == 1
    with pytest.raises(PreprocessingError, match=r"large: preprocessing it needs about 12.0 GB .* 10.0 GB are free"):
        fitting_workers({**needs, "large": 12_000_000_000}, 1)
    monkeypatch.setattr(workers, "available_memory_bytes", lambda: None)
    assert fitting_workers(needs, None) == 8


def test_memory_is_reckoned_from_the_header_and_the_spacing(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((10, 20, 30), np.int16), np.diag([2, 2, 2, 1.0])), tmp_path / "image.nii.gz")
    nothing = bytes_needed(tmp_path / "none.mha", [1.0, 1.0, 1.0])
    assert bytes_needed(tmp_path / "image.nii.gz", [1.0, 1.0, 1.0]) == nothing + 6000 * 8 * 8
    assert bytes_needed(tmp_path / "image.nii.gz", [4.0, 4.0, 4.0]) == nothing + 6000 * 7
    assert bytes_needed(tmp_path / "image.nii.gz", [2.0, 2.0]) == nothing + 6000 * 9
    assert bytes_needed(tmp_path / "image.nii.gz", []) == nothing + 6000 * 9


def work(task):
    """A worker's job: kill itself, fail, or leave a trace."""
    folder, case, what = task
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "fail":
        raise PreprocessingError(f"{case}: bad")
    (Path(folder) / case).touch()


@pytest.mark.parametrize("count", [1, 2])
def test_each_case_is_done_and_told_once(tmp_path, count):
    tasks = {case: (tmp_path, case, "work") for case in CASES}
    assert sorted(run_tasks(work, tasks, count)) == CASES
    assert sorted(file.name for file in tmp_path.iterdir()) == CASES


def test_the_first_error_of_a_worker_is_the_runs(tmp_path):
    tasks = {case: (tmp_path, case, "fail" if case == CASES[0] else "work") for case in CASES}
    with pytest.raises(PreprocessingError, match=f"^{CASES[0]}: bad"):
        list(run_tasks(work, tasks, 2))


def test_a_worker_that_dies_is_an_error_that_names_its_cases(tmp_path):
    tasks = {case: (tmp_path, case, "die" if case == CASES[1] else "work") for case in CASES}
    with pytest.raises(KitsError, match=rf"A worker died on .*{CASES[1]}.*-np 1"):
        list(run_tasks(work, tasks, 2))
