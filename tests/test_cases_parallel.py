"""Many cases in one process or several: each done once, one clear error, and as many at once as fit into memory.

Imports nothing heavy, for workers import it again.
"""

import logging
import os
import re
import signal
from pathlib import Path

import pytest

from nnunet_kits.cases import memory
from nnunet_kits.cases.memory import check_memory, fitting_workers
from nnunet_kits.cases.parallel import run_all, run_cases, with_progress
from nnunet_kits.errors import ImageError, KitsError, PreprocessingError

CASES = [f"case_{number:05d}" for number in range(5)]


def work(task):
    """A worker's job: kill itself, fail, or leave a trace."""
    folder, case, what = task
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "fail":
        raise ImageError(f"{case}: bad")
    (Path(folder) / case).touch()


@pytest.mark.parametrize("count", [1, 2])
def test_each_case_is_done_and_told_once(tmp_path, count):
    tasks = {case: (tmp_path, case, "work") for case in CASES}
    assert sorted((case for case, _ in run_all(work, tasks, count))) == CASES
    assert sorted(file.name for file in tmp_path.iterdir()) == CASES


def test_the_first_error_of_a_worker_is_the_runs(tmp_path):
    tasks = {case: (tmp_path, case, "fail" if case == CASES[0] else "work") for case in CASES}
    with pytest.raises(ImageError, match=f"^{CASES[0]}: bad"):
        list(run_all(work, tasks, 2))


def test_a_worker_that_dies_is_an_error_that_names_its_cases(tmp_path):
    tasks = {case: (tmp_path, case, "die" if case == CASES[1] else "work") for case in CASES}
    with pytest.raises(KitsError, match=rf"A worker died on .*{CASES[1]}.*-np 1"):
        list(run_all(work, tasks, 2))


def test_a_worker_that_leaves_is_said_with_its_cases():
    with pytest.raises(KitsError, match=r"A worker died on .*(one|two).*Run the same command again with -np 1"):
        list(run_cases(os._exit, {"one": 1, "two": 1}, 2))


@pytest.mark.parametrize("count", [1, 2])
def test_a_case_that_fails_does_not_stop_the_others(tmp_path, count):
    tasks = {case: (tmp_path, case, "fail" if case == CASES[1] else "work") for case in CASES}
    outcomes = dict(run_cases(work, tasks, count))
    assert {case: str(outcome) for case, outcome in outcomes.items() if outcome} == {CASES[1]: f"{CASES[1]}: bad"}
    assert sorted(file.name for file in tmp_path.iterdir()) == [case for case in CASES if case != CASES[1]]


def test_a_run_is_told_by_a_bar_on_a_terminal_and_by_lines_elsewhere(monkeypatch, capsys, caplog):
    caplog.set_level("INFO", "nnunet_kits")
    outcomes = [("a", 1), ("b", 2)]
    assert list(with_progress(outcomes, 3, "count", before=1)) == outcomes
    assert caplog.messages == ["2 of 3: a", "3 of 3: b"]
    assert list(with_progress(outcomes, 2, "count", lines=False)) == outcomes
    assert len(caplog.messages) == 2
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert list(with_progress(outcomes, 3, "count", before=1)) == outcomes
    assert "count: 100%" in capsys.readouterr().err
    assert len(caplog.messages) == 2


def report_it(task):
    """A worker's job: log a line that the user shall see, and one that only debugging shows."""
    logging.getLogger("nnunet_kits.somewhere").warning("%s is odd", task)
    logging.getLogger("nnunet_kits.somewhere").debug("%s is being done", task)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("level", "lines"), [("INFO", 0), ("DEBUG", 1)])
def test_what_a_worker_logs_is_said_by_the_parent_at_its_level(caplog, count, level, lines):
    caplog.set_level(level, "nnunet_kits")
    assert dict(run_cases(report_it, {"a": "A", "b": "B"}, count)) == {"a": None, "b": None}
    assert sorted(m for m in caplog.messages if "odd" in m) == ["A is odd", "B is odd"]
    assert len([m for m in caplog.messages if "being done" in m]) == 2 * lines
    assert len([m for m in caplog.messages if re.fullmatch(r"[ab] took \d+\.\d\d s in process \d+", m)]) == 2 * lines


def test_there_are_as_many_workers_as_cpus_cases_and_the_largest_case_leave_room_for(monkeypatch):
    monkeypatch.setattr(memory, "cpu_count", lambda: 8)
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: 10_000)
    assert fitting_workers(20) == 8  # a worker a CPU
    assert fitting_workers(3) == 3  # a worker a case
    assert fitting_workers(20, 2_000) == 4  # in 9,000 of 10,000 bytes
    assert fitting_workers(20, 2_000, share=0.5) == 2
    assert fitting_workers(20, 2_000, wanted=3) == 3
    assert fitting_workers(20, 2_000, wanted=12) == 4
    assert fitting_workers(20, 8_000) == fitting_workers(20, 80_000) == fitting_workers(0) == 1
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: None)
    assert fitting_workers(20, 8_000) == 8


def test_a_case_that_does_not_fit_is_named_with_what_it_needs(monkeypatch):
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: 10_000_000_000)
    check_memory({"small": 1, "large": 9_000_000_000}, "preprocessing", "Wait.", PreprocessingError)
    with pytest.raises(PreprocessingError, match=r"large: preprocessing it needs about 12.0 GB .* 10.0 GB are free"):
        check_memory({"small": 1, "large": 12_000_000_000}, "preprocessing", "Wait.", PreprocessingError)
