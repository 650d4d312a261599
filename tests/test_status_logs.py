"""nnU-Net's training logs: all of a fold as one history, whatever became of the training."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_logs import dice_of, log, write_fold

from nnunet_kits.status.last_error import last_error
from nnunet_kits.status.training_log import read_history

TRACEBACK = """Traceback (most recent call last):
  File "/env/bin/nnUNetv2_train", line 8, in <module>
    sys.exit(run_training_entry())
RuntimeError: CUDA error: an illegal memory access was encountered
"""
BURIED = """Exception in background worker 3:
 [Errno 28] No space left on device
Traceback (most recent call last):
OSError: [Errno 28] No space left on device
Traceback (most recent call last):
RuntimeError: One or more background workers are no longer alive. Exiting. Please check the print statements above
"""


def test_logs_are_one_history_in_the_order_of_their_dates_though_months_have_no_zero(tmp_path):
    for name, begun in (("2026_9_30_23_59_00", 0), ("2026_10_1_00_30_00", 2)):
        (tmp_path / f"training_log_{name}.txt").write_text(log([begun, begun + 1]))
    assert list(read_history(tmp_path).pseudo_dice) == [0, 1, 2, 3]


def test_what_a_resumed_training_does_again_counts_as_the_last_and_what_it_has_not_yet_is_dropped(tmp_path):
    fold = write_fold(tmp_path / "fold_0", log([0, 1, 2, 3, 4]), log([2, (3,)], seconds=20.0))
    history = read_history(fold)
    assert (history.begun, history.done) == (3, 3)
    assert history.seconds == {0: 60.0, 1: 60.0, 2: 20.0}
    assert list(history.train_loss) == list(history.pseudo_dice) == [0, 1, 2]


def test_the_moving_average_is_nnunets(tmp_path):
    history = read_history(write_fold(tmp_path / "fold_0", log(range(3))))
    first, second, third = (dice_of(epoch) for epoch in range(3))
    assert history.pseudo_dice == pytest.approx({0: first, 1: second, 2: third})
    assert history.ema_dice() == pytest.approx(
        {0: first, 1: 0.9 * first + 0.1 * second, 2: 0.9 * (0.9 * first + 0.1 * second) + 0.1 * third}
    )


def test_the_moving_average_follows_what_the_log_tells_of_it_where_earlier_logs_are_lost(tmp_path):
    text = log([7]) + "2026-11-20 08:01:00.2: Yayy! New best EMA pseudo Dice: 0.41 \n" + log([8], head=False)
    history = read_history(write_fold(tmp_path / "fold_0", text))
    assert history.ema_dice() == pytest.approx({7: 0.41, 8: 0.9 * 0.41 + 0.1 * dice_of(8)})


def test_a_log_of_ddp_and_of_compilation_is_read_as_any(tmp_path):
    plain = read_history(write_fold(tmp_path / "fold_0", log(range(3))))
    parallel = read_history(write_fold(tmp_path / "fold_1", log(range(3), ddp=True, compiled=True)))
    assert parallel.pseudo_dice == plain.pseudo_dice
    assert list(parallel.seconds.values()) == [600.0, 60.0, 60.0]


def test_losses_that_are_no_numbers_are_noted_by_their_epochs(tmp_path):
    history = read_history(write_fold(tmp_path / "fold_0", log([0]) + log([1, 2], loss="nan", head=False)))
    assert (list(history.train_loss), history.not_finite, history.done) == ([0], {1, 2}, 3)


def test_the_error_of_the_newest_log_counts_and_one_that_epochs_followed_does_not(tmp_path):
    crashed = log([0, (1,)]) + TRACEBACK
    assert read_history(write_fold(tmp_path / "a", crashed)).error == TRACEBACK.splitlines()[-1]
    assert read_history(write_fold(tmp_path / "b", crashed, log([1]))).error == ""
    assert read_history(write_fold(tmp_path / "c", crashed + log([1], head=False))).error == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TRACEBACK, "RuntimeError: CUDA error: an illegal memory access was encountered"),
        (BURIED, "OSError: [Errno 28] No space left on device"),
        (BURIED.splitlines()[-1], BURIED.splitlines()[-1]),
        ("[rank1]: Traceback (most recent call last):\n[rank1]: torch.OutOfMemoryError: CUDA out of memory.", None),
        ("nnunet_kits: error: dataset 220 has no plans\n", "nnunet_kits: error: dataset 220 has no plans"),
        ("slurmstepd: error: *** JOB 12 ON gpu1 CANCELLED AT 2026-11-20 DUE TO TIME LIMIT ***", None),
        ("/bin/sh: line 1: 4242 Killed                  nnUNetv2_train 220 3d_lowres 0", None),
        ("AssertionError", "AssertionError"),
        ("2026-11-20 08:00:00.1: Using torch.compile...\nerror bars: none\nKilling time\nno Error here", ""),
    ],
)
def test_the_last_line_that_tells_an_error_is_found(text, said):
    last = text.splitlines()[-1].removeprefix("[rank1]: ")
    assert last_error(text.splitlines()) == (last if said is None else said)


def test_an_empty_and_a_damaged_log_are_a_remark_each(tmp_path):
    torn = log([0, 1]).encode()[:-20] + b"\0" * 512
    fold = write_fold(tmp_path / "fold_0", b"", torn, b"\0\0\0", b"\xff\xfe" + log([1, 2]).encode())
    history = read_history(fold)
    assert history.remarks == [
        "training_log_2026_11_20_08_00_00.txt is empty",
        "training_log_2026_11_21_08_00_00.txt is damaged: it holds bytes that are no text",
        "training_log_2026_11_22_08_00_00.txt is empty",
        "training_log_2026_11_23_08_00_00.txt is damaged: it holds bytes that are no text",
    ]
    assert list(history.seconds) == [0, 1, 2]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(
        st.one_of(
            st.sampled_from(log([0, 1]).splitlines()),
            st.text(max_size=20),
            st.builds(
                "2026-11-20 08:00:00.1: {}{} ".format,
                st.sampled_from(
                    SAID := (
                        "Epoch ",
                        "train_loss ",
                        "Pseudo dice ",
                        "Epoch time: ",
                        "Yayy! New best EMA pseudo Dice: ",
                    )
                ),
                st.sampled_from(["1", "nan", "-inf", "[]", "[None, 'a']", "{}", "()", "1e999", "", "0x", "2 s", "x s"]),
            ),
        ),
        max_size=30,
    )
)
def test_no_log_whatever_it_holds_raises(tmp_path, parts):
    (tmp_path / "training_log_2026_1_1.txt").write_text("\n".join(parts), encoding="utf-8", errors="ignore")
    history = read_history(tmp_path)
    history.ema_dice()
    assert all(epoch < history.done for epoch in history.seconds)
