"""``nnunet_kits status``: folds of any trainer and steps of recipes, as far as their files tell."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime, timedelta

import pytest
from small_logs import BEGIN, NOW, done, log, write_fold

from nnunet_kits.cli import status as verb
from nnunet_kits.cli.main import main
from nnunet_kits.errors import KitsError
from nnunet_kits.model_folder import ModelFolder
from nnunet_kits.status.folds import read_fold
from nnunet_kits.status.overview import read_overview
from nnunet_kits.status.words import duration

DATASET = "Dataset220_KiTS2023"
MODEL = f"nnUNet_results/{DATASET}/nnUNetTrainer__nnUNetPlans__3d_lowres"
CRASH = "Traceback (most recent call last):\nRuntimeError: CUDA error: unspecified launch failure\n"


def fold_of(tmp_path, *logs, trainer="nnUNetTrainer", **options):
    """One fold, read."""
    model = ModelFolder(tmp_path / DATASET, trainer, "nnUNetPlans", "3d_fullres")
    write_fold(model.fold(0), *logs, now=NOW, **options)
    return read_fold(model, "0", NOW)


def test_a_fold_that_is_trained_and_validated_is_finished(tmp_path):
    text = done(range(5), predicted=["case_00001", "case_00002"])
    fold = fold_of(tmp_path, text, epochs=5, checkpoints=("final", "best"), dice=0.7, age=1e6)
    assert (fold.state, fold.epochs_done, fold.epochs, fold.seconds_left, fold.remarks) == ("finished", 5, 5, 0.0, ())
    assert (fold.validation_dice, fold.validation_classes) == (
        0.7,
        {"(1, 2, 3)": pytest.approx(0.8), "2": pytest.approx(0.6)},
    )


@pytest.mark.parametrize(("age", "state"), [(170, "running"), (190, "stopped")])
def test_running_is_told_from_stopped_by_the_logs_last_change_against_three_epochs(age, state, tmp_path):
    fold = fold_of(tmp_path, log([0, 1, 2, (3,)]), epochs=100, checkpoints=("best",), age=age)
    assert (fold.state, fold.epochs_done, fold.epoch_seconds, fold.seconds_left) == (state, 3, 60.0, 97 * 60.0)
    assert fold.remarks == (() if state == "running" else ("nnUNetv2_train with --c goes on",))


@pytest.mark.parametrize(("age", "state"), [(110, "running"), (130, "stopped")])
def test_epochs_of_seconds_get_two_minutes(age, state, tmp_path):
    assert fold_of(tmp_path, log([0, (1,)], seconds=2.0), epochs=9, age=age).state == state


@pytest.mark.parametrize(("age", "state"), [(890, "running"), (910, "stopped")])
def test_the_first_epoch_and_the_validation_get_a_quarter_of_an_hour(age, state, tmp_path):
    first = fold_of(tmp_path / "a", log([(0,)]), epochs=9, age=age)
    validates = fold_of(
        tmp_path / "b", done([0], predicted=["a", "b"], complete=False), epochs=1, checkpoints=("final",), age=age
    )
    assert (first.state, validates.state) == (state, state)
    assert validates.remarks[0] == "trained; its log names 2 of 10 cases of the validation"
    assert ("nnUNetv2_train with --val goes on" in validates.remarks) == (state == "stopped")


def test_the_time_of_an_epoch_is_the_median_of_the_last_so_that_compilation_does_not_count(tmp_path):
    fold = fold_of(tmp_path, log([0, 1, 2], compiled=True, ddp=True), epochs=10)
    assert (fold.epoch_seconds, fold.seconds_left) == (60.0, 7 * 60.0)


def test_a_log_that_ends_in_an_error_has_failed(tmp_path):
    fold = fold_of(tmp_path, log([0, (1,)]) + CRASH, epochs=9)
    assert (fold.state, fold.error) == ("failed", "RuntimeError: CUDA error: unspecified launch failure")
    assert fold.remarks == ("without a checkpoint: it begins anew",)


def test_a_fold_that_was_begun_anew_after_it_was_finished_is_not_finished(tmp_path):
    fold = fold_of(
        tmp_path, done([0, 1]), log([0, (1,)], seconds=30.0), epochs=2, checkpoints=("final",), dice=0.5, age=9e4
    )
    assert (fold.state, fold.epochs_done, fold.validation_dice) == ("stopped", 1, None)
    assert "checkpoint_final.pth is of an earlier training" in fold.remarks


def test_a_validation_that_is_done_again_is_not_the_one_before(tmp_path):
    again = done([0], predicted=["a"], complete=False)
    fold = fold_of(tmp_path, again, epochs=1, checkpoints=("final",), dice=0.5, age=5)
    assert (fold.state, fold.validation_dice) == ("running", None)


def test_a_downloaded_model_without_logs_is_finished_and_an_empty_folder_waits(tmp_path):
    assert fold_of(tmp_path / "a", checkpoints=("final",)).state == "finished"
    assert fold_of(tmp_path / "b").state == "waiting"
    kept = fold_of(tmp_path / "c", done([0, 1]), trainer="nnUNetTrainer_2epochs", checkpoints=("final",), dice=0.5)
    assert (kept.state, kept.epochs) == ("finished", 2)


def test_losses_that_are_no_numbers_and_damaged_logs_are_remarks(tmp_path):
    text = log([0]) + log([1, 2], loss="nan", head=False)
    fold = fold_of(tmp_path, b"", text, epochs=9)
    assert fold.remarks == (
        "training_log_2026_11_20_08_00_00.txt is empty",
        "the training loss is no number since epoch 1",
    )
    fold = fold_of(tmp_path / "b", b"\0\0", epochs=9, age=1e5)
    assert (fold.state, fold.epochs_done) == ("stopped", None)
    assert fold.remarks == ("training_log_2026_11_20_08_00_00.txt is empty", "ended before its first epoch")


def test_a_copied_log_is_as_old_as_its_last_line(tmp_path):
    model = ModelFolder(tmp_path / DATASET, "nnUNetTrainer", "nnUNetPlans", "2d")
    write_fold(model.fold(0), log([0, (1,)]), epochs=9, now=BEGIN.timestamp() + 40 * 3600)
    assert read_fold(model, "0", BEGIN.timestamp() + 40 * 3600).state == "stopped"


def test_a_damaged_summary_and_debug_file_raise_nothing(tmp_path):
    fold = write_fold(tmp_path / MODEL / "fold_0", done([0]), checkpoints=("final",), dice=0.5)
    for content in ("{", "[]", '{"num_epochs": "many", "foreground_mean": 3, "mean": {"1": [], "2": {"Dice": NaN}}}'):
        (fold / "validation" / "summary.json").write_text(content)
        (fold / "debug.json").write_text(content)
        (found,) = read_overview(tmp_path).folds
        assert (found.epochs, found.validation_dice) == (None, None)


# below which folder


@pytest.fixture
def world(tmp_path):
    """A root with a stock trainer's folds in several states, and a recipe on its way."""
    now, recent = time.time(), datetime.now() - timedelta(minutes=5)
    write_fold(
        tmp_path / MODEL / "fold_0", done(range(3)), epochs=3, checkpoints=("final",), dice=0.7, age=9e5, now=now
    )
    write_fold(
        tmp_path / MODEL / "fold_1",
        log([0, 1], recent),
        log([1, (2,)], recent),
        epochs=3,
        checkpoints=("best",),
        now=now,
    )
    write_fold(tmp_path / MODEL / "fold_2", log([0, (1,)]), epochs=3, checkpoints=("best",), age=9e5, now=now)
    return tmp_path


def train(configuration, fold):
    return ["nnUNetv2_train", "220", configuration, str(fold), "-p", "nnUNetPlans"]


def write_run(root, recipe="smoke", host=None):
    """A recipe: converted; folds 0 to 2 of the low resolution finished, running, failed; fold 3 and the rest wait."""
    folder = root / "runs" / recipe
    steps = [{"name": "convert", "verb": "convert", "command": ["nnunet_kits", "convert"], "after": []}]
    for fold in range(4):
        steps.append(
            {"name": f"low_{fold}", "verb": "train", "command": train("3d_lowres", fold), "after": ["convert"]}
        )
    after = [f"low_{fold}" for fold in range(4)]
    steps.append({"name": "full_0", "verb": "train", "command": train("3d_cascade_fullres", 0), "after": after})
    steps.append({"name": "report", "verb": "report", "command": ["nnunet_kits", "report"], "after": ["full_0"]})
    here = {"pid": os.getpid(), "host": host or socket.gethostname()}
    marks = {"done": {"convert": {"seconds": 75.0}, "low_0": {"seconds": 3600}}, "running": {"low_1": here}}
    marks["failed"] = {"low_1": {"error": "an earlier attempt"}, "low_2": {"code": 1, "error": "KeyError: 'tumor'"}}
    for kind, those in marks.items():
        (folder / kind).mkdir(parents=True)
        for name, facts in those.items():
            (folder / kind / f"{name}.json").write_text(json.dumps(facts))
    (folder / "logs").mkdir()
    (folder / "logs" / "low_2.log").write_text("$ nnUNetv2_train\nTraceback:\nKeyError: 'tumor'\n")
    (folder / "steps.json").write_text(json.dumps({"recipe": recipe, "settings": {}, "steps": steps}))
    return folder


@pytest.mark.parametrize("place", ["", "nnUNet_results", f"nnUNet_results/{DATASET}", MODEL])
def test_the_root_is_any_folder_from_the_models_to_the_one_that_holds_nnunet_results(place, world):
    found = read_overview(world / place)
    assert [(fold.name, fold.state) for fold in found.folds] == [("0", "finished"), ("1", "running"), ("2", "stopped")]
    assert {fold.model.path for fold in found.folds} == {world / MODEL}


def test_a_folder_without_folds_is_refused_in_one_line(tmp_path, capsys):
    for name in ("ensembles/ensemble_of/fold_0", "a__b/fold_0"):
        (tmp_path / name).mkdir(parents=True)
    assert main(["status", str(tmp_path)]) == 2
    assert f"error: {tmp_path}: no fold of a model is below it, and no recipe. Name nnUNet" in capsys.readouterr().err
    with pytest.raises(KitsError, match=r"nowhere: no such folder\. Name nnUNet_results"):
        read_overview(tmp_path / "nowhere")


def test_the_steps_of_a_recipe_are_finished_running_failed_or_wait_for_what(world):
    folder = write_run(world)
    (run,) = read_overview(world).runs
    told = {step.name: (step.state, step.waits_for, step.error) for step in run.steps}
    assert told == {
        "convert": ("finished", (), ""),
        "low_0": ("finished", (), ""),
        "low_1": ("running", (), ""),
        "low_2": ("failed", (), "KeyError: 'tumor'"),
        "low_3": ("waiting", (), ""),
        "full_0": ("waiting", ("low_1", "low_2", "low_3"), ""),
        "report": ("waiting", ("full_0",), ""),
    }
    assert (run.steps[0].seconds, run.steps[3].log) == (75.0, folder / "logs" / "low_2.log")
    assert run.steps[2].process == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_recipe_tells_more_of_its_folds_than_their_logs(world):
    folder = write_run(world)
    for place in (world, folder):
        folds = {(fold.model.configuration, fold.name): fold for fold in read_overview(place).folds}
        assert folds["3d_lowres", "2"].error == "KeyError: 'tumor'"
        assert {key: fold.state for key, fold in folds.items()} == {
            ("3d_lowres", "0"): "finished",
            ("3d_lowres", "1"): "running",
            ("3d_lowres", "2"): "failed",
            ("3d_lowres", "3"): "waiting",
            ("3d_cascade_fullres", "0"): "waiting",
        }


def test_a_step_whose_process_is_gone_has_stopped_and_one_on_another_machine_is_believed(world):
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    folder = write_run(world)
    (folder / "failed" / "low_1.json").unlink()
    for host, state in ((socket.gethostname(), "stopped"), ("another", "running")):
        (folder / "running" / "low_1.json").write_text(json.dumps({"pid": gone.pid, "host": host}))
        assert read_overview(world).runs[0].steps[2].state == state


def test_a_damaged_steps_file_is_a_remark(world, capsys):
    folder = write_run(world)
    for content in ("{", '{"steps": 3}', '{"steps": [1, {"name": 2}, {"name": "a", "command": 3, "after": null}]}'):
        (folder / "steps.json").write_text(content)
        assert main(["status", str(world)]) == 0
    assert "steps.json is damaged; nnunet_kits run writes it anew" in capsys.readouterr().out


# what is shown


def test_the_table_has_a_row_a_fold_and_what_is_to_be_known_below_it(world, capsys):
    write_run(world)
    assert main(["status", str(world)]) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert lines.index(f"{DATASET}/nnUNetTrainer__nnUNetPlans__3d_cascade_fullres") == 0
    (row,) = re.findall(r"^  1 +running +2 of 3 .*$", told, re.MULTILINE)
    assert re.split(r"  +", re.sub(r"\S+ s ago", "0 s ago", row.strip())) == [
        "1",
        "running",
        "2 of 3",
        "0.501 (0.501)",
        "1 min",
        "1 min",
        "0 s ago",
    ]
    assert "        error: KeyError: 'tumor'" in lines
    steps = "7 steps: 2 finished, 1 running, 1 failed, 3 waiting"
    assert f"recipe smoke, {steps}, in {world.resolve() / 'runs' / 'smoke'}" in lines
    assert "  low_2   failed    logs/low_2.log: KeyError: 'tumor'" in lines
    assert "  report  waiting   for full_0" in lines
    assert "5 folds: 2 waiting, 1 finished, 1 running, 1 failed" in lines
    assert "A fold counts as running while its log changes at least every 3 epochs' time (2 min at least;" in told


def test_json_has_the_folds_and_the_steps(world, capfd):
    write_run(world)
    assert main(["status", str(world), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    fold = next(fold for fold in found["folds"] if fold["fold"] == "0" and fold["configuration"] == "3d_lowres")
    assert (fold["dataset"], fold["trainer"], fold["state"], fold["validation_dice"]) == (
        *(DATASET, "nnUNetTrainer", "finished"),
        0.7,
    )
    assert found["runs"][0]["steps"][5]["waits_for"] == ["low_1", "low_2", "low_3"]


def test_the_page_is_one_file_with_table_steps_and_curves(world):
    write_run(world)
    page = world / "status.html"
    assert main(["status", str(world), "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Folds", "Recipe smoke", "Curves"]
    assert set(re.findall(r'<img src="(\w+:\w+)', text)) == {"data:image"}
    assert text.count("<figcaption>Pseudo Dice on validation patches") == 1
    assert "KeyError: &#39;tumor&#39;" in text
    assert not re.findall(r'(?:href|src)="(?!#|data:)', text)


def test_what_cannot_be_is_refused_before_anything_is_read(world, capsys):
    for more, said in (
        (["--watch", "--json"], "--watch and --json do not go together"),
        (["--html", str(world / "nowhere" / "s.html")], "there is no folder"),
    ):
        assert main(["status", str(world), *more]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["status", str(world), "--watch", "nan"])
    assert "'nan' is not a number of seconds from 0.1" in capsys.readouterr().err


def read_until(terminal, wanted, timeout=60):
    """What a program writes to its terminal, up to some text."""
    found, end = "", time.monotonic() + timeout
    while wanted not in found and time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            found += os.read(terminal, 65536).decode()
    assert wanted in found
    return found


def has_ended(process, terminal, seconds):
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):  # the other end is closed
                os.read(terminal, 65536)
    return process.poll() is not None


def test_watching_draws_the_table_again_when_it_changes_and_ends_with_ctrl_c(world):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "nnunet_kits.cli.main", "status", str(world), "--watch", "0.2"]
    watching = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        first = read_until(ours, "Ctrl-C ends it.")
        assert first.startswith(verb.CLEAR)
        assert "3 folds: 1 finished, 1 running, 1 stopped" in first
        log_file = next((world / MODEL / "fold_2").glob("training_log_*"))
        log_file.write_text(log([0, 1, (2,)], datetime.now()))
        later = read_until(ours, "3 folds: 1 finished, 2 running")
        assert verb.CLEAR in later
        for _ in range(12):  # read on: a terminal that nobody reads would hold it; and press again, as a user would
            watching.send_signal(signal.SIGINT)
            if has_ended(watching, ours, seconds=5):
                break
        assert watching.wait(timeout=5) == 0
    finally:
        watching.kill()
        watching.wait()
        os.close(ours)


def test_a_terminal_that_is_too_small_gets_what_fits(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(verb.shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((40, 10)))
    verb._draw([f"{number} {'x' * 80}" for number in range(30)], 5.0)
    lines = capsys.readouterr().out.removeprefix(verb.CLEAR).splitlines()
    assert len(lines) == 9
    assert max(map(len, lines)) == 39
    assert [lines[5].split()[0], lines[6], lines[7].split()[0]] == ["5", "...", "29"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (0, "0 s"), (0.4, "0.4 s"), (59.6, "1 min"), (92, "1 min 32 s"), (3599, "1 h"), (90000, "1 d 1 h")],
)
def test_durations_have_two_units(seconds, said):
    assert duration(seconds) == said
