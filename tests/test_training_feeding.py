"""Trainings say whether their network waits for batches, and load in as many processes as help."""

import time

import numpy as np
import pytest

from nnunet_kits import doctor
from nnunet_kits.training import feeding
from nnunet_kits.training.feeding import Feed, is_said_after, loading_processes


@pytest.fixture
def large_machine(monkeypatch):
    monkeypatch.delenv(feeding.VARIABLE, raising=False)
    monkeypatch.setattr(feeding, "cpu_count", lambda: 16)
    monkeypatch.setattr(feeding, "available_memory_bytes", lambda: 100e9)


def test_a_gpu_gets_at_most_six_processes_and_never_more_than_nnunet_would_take(large_machine):
    assert loading_processes(12, on_gpu=True) == 6
    assert loading_processes(4, on_gpu=True) == 4


def test_a_network_on_the_cpu_shares_it_with_one_process(large_machine):
    assert loading_processes(12, on_gpu=False) == 1


def test_small_machines_get_fewer_processes_but_one(large_machine, monkeypatch):
    monkeypatch.setattr(feeding, "cpu_count", lambda: 4)
    assert loading_processes(4, on_gpu=True) == 3
    monkeypatch.setattr(feeding, "available_memory_bytes", lambda: 6e9)
    assert loading_processes(4, on_gpu=True) == 2
    monkeypatch.setattr(feeding, "available_memory_bytes", lambda: 1e9)
    assert loading_processes(4, on_gpu=True) == 1


def test_the_trainings_of_several_gpus_share_cpus_and_memory(large_machine, monkeypatch):
    assert loading_processes(12, on_gpu=True, trainings=2) == 6
    assert loading_processes(12, on_gpu=True, trainings=4) == 3
    assert loading_processes(12, on_gpu=True, trainings=16) == 1
    monkeypatch.setattr(feeding, "available_memory_bytes", lambda: 10e9)
    assert loading_processes(12, on_gpu=True, trainings=2) == 2


def test_memory_that_is_not_known_limits_nothing(large_machine, monkeypatch):
    monkeypatch.setattr(feeding, "available_memory_bytes", lambda: None)
    assert loading_processes(12, on_gpu=True) == 6


@pytest.mark.parametrize("given", [0, 1, 20])
def test_a_number_that_the_user_has_set_is_taken(large_machine, monkeypatch, given):
    monkeypatch.setenv(feeding.VARIABLE, str(given))
    assert loading_processes(given, on_gpu=True) == given


def fed(waits_s, works_s, samples=2):
    """A feed whose clock is told: the first iteration, and then so many seconds of waiting and of work."""
    feed = Feed()
    now = iter(np.cumsum([0, 9, *(step for pair in zip(waits_s, works_s, strict=True) for step in pair)]).tolist())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeding.time, "perf_counter", lambda: next(now))
        for _ in range(len(waits_s) + 1):
            with feed.iteration(samples):
                pass
    return feed


def test_the_line_counts_samples_seconds_and_waiting_and_leaves_out_the_first_iteration(large_machine):
    told = fed([3, 3], [1, 1]).told(2)
    assert told == (
        "Loading: the network takes 2 samples a second, got 0.5 from 2 processes and waited 75% of the time. "
        "Set nnUNet_n_proc_DA to 8 (there are 16 CPUs)."
    )


def test_a_network_that_hardly_waits_gets_no_advice(large_machine):
    assert fed([0.1, 0.1], [1, 1]).told(1).endswith("from 1 process and waited 9% of the time. That is good.")


def test_where_all_cpus_load_already_more_processes_are_not_advised(large_machine, monkeypatch):
    monkeypatch.setattr(feeding, "cpu_count", lambda: 2)
    assert "All 2 CPUs load already" in fed([1], [1]).told(2)
    assert "Set nnUNet_n_proc_DA to 1 " in fed([1], [1]).told(0)


def test_the_line_of_several_gpus_speaks_of_one_and_advises_its_share_of_the_cpus(large_machine):
    told = fed([3, 3], [1, 1]).told(2, trainings=4)
    assert "got 0.5 from 2 processes and waited 75% of the time (one of 4 GPUs). Set nnUNet_n_proc_DA to 3 " in told
    assert "All 16 CPUs load already" in fed([3, 3], [1, 1]).told(3, trainings=4)


def test_nothing_is_said_of_a_single_iteration():
    assert fed([], []).told(1) is None


def test_what_a_feed_measures_is_the_clock():
    feed = Feed()
    for _ in range(3):
        time.sleep(0.02)
        with feed.iteration(1):
            time.sleep(0.01)
    assert feed.samples == 2
    assert feed.waited_s >= 0.04
    assert feed.worked_s >= 0.02


def test_the_log_says_it_after_the_first_two_epochs_and_every_fifty():
    assert [epochs for epochs in range(1, 110) if is_said_after(epochs)] == [1, 2, 51, 101]


def write_log(root, model, line, age):
    fold = root / "Dataset220_KiTS2023" / model / "fold_0"
    fold.mkdir(parents=True)
    log = fold / "training_log_2026_1_1.txt"
    log.write_text(f"2026-01-01: Epoch 1\n2026-01-01: {line}\n2026-01-01: val_loss 0\n")
    stamp = time.time() - age
    feeding.os.utime(log, (stamp, stamp))


def test_doctor_repeats_the_newest_training_and_its_advice(tmp_path, monkeypatch, large_machine):
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    assert doctor.check_loading().status == "ok"
    write_log(tmp_path, "A__P__3d", fed([0.01], [1]).told(2), age=100)
    assert doctor.check_loading().status == "ok"
    assert doctor.check_loading().found.startswith("A__P__3d, fold_0: the network takes 2 samples a second")
    write_log(tmp_path, "B__P__3d", fed([3], [1]).told(2), age=50)
    write_log(tmp_path, "C__P__3d", "a log of nnU-Net's", age=10)
    found = doctor.check_loading()
    assert (found.status, found.advice) == ("warn", "Set nnUNet_n_proc_DA to 8 (there are 16 CPUs).")
    assert found.found.startswith("B__P__3d")
