"""Runs of cheap steps through Snakemake: order, failures, kills, and nothing done twice."""

import collections
import os
import signal
import subprocess
import sys
import time

import pytest
from cheap_steps import counted, events, folder_of, kill, run, session, start, step, wait_until

from nnunet_kits.errors import WorkflowError
from nnunet_kits.workflow.folder import DONE, FAILED, RUNNING
from nnunet_kits.workflow.outcome import table

pytestmark = pytest.mark.skipif(os.name == "nt", reason="running a recipe needs Linux or macOS")


def states(found):
    return {name: outcome.state for name, outcome in found.items()}


def test_a_failed_fold_leaves_the_others_going_and_is_named_and_then_only_what_is_left_is_done(tmp_path, caplog):
    caplog.set_level("INFO")
    fold = "if [ -e mended ]; then echo good; else echo RuntimeError: no memory; exit 3; fi"
    steps = [
        counted("convert", "echo 'note: None of 20 cases has a cyst.'"),
        counted("train_fold0", fold, "convert"),
        counted("train_fold1", "sleep 1", "convert"),
        counted("predict", "", "train_fold0", "train_fold1"),
        counted("report", "", "predict"),
    ]
    found = run(tmp_path, steps)
    assert events(tmp_path) == [
        *("begin convert", "end convert", "begin train_fold0", "begin train_fold1", "end train_fold1")
    ]
    assert states(found) == {
        **{"convert": "done", "train_fold0": "failed", "train_fold1": "done"},
        **{"predict": "waiting", "report": "waiting"},
    }
    failed = found["train_fold0"]
    assert failed.error == "RuntimeError: no memory"
    assert failed.log == folder_of(tmp_path).path / "logs" / "train_fold0.log"
    assert failed.log.read_text().splitlines()[1:] == ["RuntimeError: no memory"]
    assert [line.split() for line in table(list(found.values()))] == [
        "2 of 5 steps are done: 2 now, 0 before; 1 failed, 2 wait.".split(),
        ["failed", "train_fold0", "RuntimeError:", "no", "memory"],
        [str(failed.log)],
        ["waiting", "predict", "for", "train_fold0"],
        ["waiting", "report", "for", "train_fold0"],
    ]
    said = [record.message for record in caplog.records]
    assert "[0 of 5] convert: begun" in said or "[1 of 5] convert: done after 0 s" in said
    done = next(place for place, line in enumerate(said) if line.startswith("[1 of 5] convert: done after "))
    assert said[done + 1] == "  note: None of 20 cases has a cyst."
    assert [line for line in said if "train_fold0: failed" in line] == [
        "[1 of 5] train_fold0: failed after 0 s: RuntimeError: no memory"
    ]

    (folder_of(tmp_path).path / "mended").touch()
    caplog.clear()
    found = run(tmp_path, steps)
    assert states(found) == {
        **{"convert": "kept", "train_fold0": "done", "train_fold1": "kept"},
        **{"predict": "done", "report": "done"},
    }
    assert collections.Counter(events(tmp_path)) == {
        **{f"{when} {s.name}": 1 for s in steps for when in ("begin", "end")},
        "begin train_fold0": 2,
    }
    assert not folder_of(tmp_path).mark_file(FAILED, "train_fold0").exists()
    assert table(list(found.values())) == ["5 of 5 steps are done: 3 now, 2 before."]
    assert caplog.records[0].message == "2 of 5 steps were done before."

    started = time.monotonic()
    assert set(states(run(tmp_path, steps)).values()) == {"kept"}
    assert time.monotonic() - started < 2, "Snakemake is not even started"


def test_as_many_steps_at_once_as_jobs_and_cards_allow(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    show = "echo $CUDA_VISIBLE_DEVICES >> cards; sleep 1.5"
    steps = [counted(f"train_fold{fold}", show, verb="predict", gpus=1) for fold in range(4)]
    steps.append(counted("both", "echo $CUDA_VISIBLE_DEVICES >> cards", "train_fold0", verb="predict", gpus=2))
    found = run(tmp_path, steps, jobs=3)
    assert set(states(found).values()) == {"done"}
    open_steps, most = 0, 0
    for event in events(tmp_path):
        open_steps += 1 if event.startswith("begin") else -1
        most = max(most, open_steps)
    assert most == 2
    cards = collections.Counter((folder_of(tmp_path).path / "cards").read_text().split())
    assert cards["3"] >= 1
    assert cards["5"] >= 1
    assert cards["3"] + cards["5"] == 4
    assert cards["3,5"] == 1


def held_up(tmp_path):
    """Three steps, the second of which hangs until there is a file."""
    return [
        counted("first"),
        counted("second", "[ -e go ] || sleep 300", "first"),
        counted("third", "", "second"),
    ]


def begin_and_hold(root, steps, deaf=False):
    process = start(root, steps, deaf=deaf)
    wait_until(lambda: "begin second" in (events(root) if (folder_of(root).path / "events").exists() else []))
    return process


@pytest.mark.parametrize("killed", ["the run", "everything"])
def test_after_kill_9_the_same_command_goes_on_and_nothing_is_done_twice(tmp_path, killed):
    steps = held_up(tmp_path)
    process = begin_and_hold(tmp_path, steps)
    family = session(process.pid)
    assert len(family) > 3
    kill(family if killed == "everything" else [process.pid])
    process.communicate()
    (folder_of(tmp_path).path / "go").touch()
    found = run(tmp_path, steps)
    assert states(found) == {"first": "kept", "second": "done", "third": "done"}
    assert collections.Counter(events(tmp_path)) == {
        **{f"{when} {s.name}": 1 for s in steps for when in ("begin", "end")},
        "begin second": 2,
    }
    wait_until(lambda: session(process.pid) == [], 30)


@pytest.mark.parametrize(("told", "deaf"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_ctrl_c_and_kill_end_all_that_the_run_started_and_meanwhile_no_other_run_works_there(tmp_path, told, deaf):
    steps = held_up(tmp_path)
    process = begin_and_hold(tmp_path, steps, deaf)
    with pytest.raises(WorkflowError, match=rf"another run \(cheap, process {process.pid} on .*\) works there\. Wait"):
        run(tmp_path, steps)
    os.kill(process.pid, told)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "second: begun" in out
    assert session(process.pid) == []
    assert not folder_of(tmp_path).mark_file(RUNNING, "second").exists()
    assert not folder_of(tmp_path).mark_file(FAILED, "second").exists()
    assert folder_of(tmp_path).mark_file(DONE, "first").exists()


def test_a_step_that_is_killed_fails_with_a_word_and_its_command_dies_with_it(tmp_path):
    steps = [step("lonely", "echo $$ > number; sleep 300"), step("after", "true", "lonely"), step("other", "true")]
    process = start(tmp_path, steps)
    path = folder_of(tmp_path).path
    wait_until(lambda: (path / "number").exists() and (path / "number").read_text().strip())
    keeper = folder_of(tmp_path).marked(RUNNING, "lonely")["pid"]
    os.kill(keeper, signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    assert "other: done after" in out
    assert "failed   lonely  killed without a word" in out
    assert "waiting  after   for lonely" in out
    wait_until(lambda: not os.path.exists(f"/proc/{(path / 'number').read_text().strip()}"), 10)


def test_a_profile_that_snakemake_does_not_take_is_one_line(tmp_path):
    profile = tmp_path / "mine.yaml"
    profile.write_text("executor: local\nno-such-option: 3\n")
    with pytest.raises(WorkflowError, match=r"Snakemake could not start a step: .*no-such-option.*all it said: /"):
        run(tmp_path, [step("a", "true")], profile=str(profile))


def test_a_step_can_be_run_by_hand(tmp_path):
    folder = folder_of(tmp_path)
    steps = [counted("one", "echo $MINE"), step("bad", "echo nnunet_kits: error: no such thing; echo more; exit 2")]
    folder.write({"recipe": "cheap"}, {"MINE": "a b"}, steps)

    def by_hand(name):
        command = [sys.executable, "-m", "nnunet_kits.workflow.step", str(folder.steps_file), name]
        return subprocess.run(command, cwd=folder.path, capture_output=True, text=True, check=False)

    assert by_hand("one").returncode == 0
    assert folder.log("one").read_text().splitlines()[-1] == "a b"
    assert set(folder.marked(DONE, "one")) == {"command", "files", "seconds", "when"}
    assert by_hand("one").returncode == 0
    assert events(tmp_path) == ["begin one", "end one"]
    bad = by_hand("bad")
    assert bad.returncode == 1
    assert "nnunet_kits: error: no such thing\nmore" in bad.stderr
    assert folder.marked(FAILED, "bad")["error"] == "nnunet_kits: error: no such thing"
    assert "has no such step. It has: one, bad." in by_hand("two").stderr
    assert by_hand("two").returncode == 2
