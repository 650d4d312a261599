"""What a run decides before Snakemake starts: what is left, how a stopped step goes on, where steps run."""

import json
import os
import zipfile
from dataclasses import replace

import pytest

from nnunet_kits.errors import WorkflowError
from nnunet_kits.machine import visible_gpus
from nnunet_kits.model_folder import BEST, FINAL, LATEST
from nnunet_kits.recipes.steps import Resources, Step
from nnunet_kits.workflow import locks
from nnunet_kits.workflow.alive import wait_for_orphans
from nnunet_kits.workflow.changes import fingerprint, steps_left
from nnunet_kits.workflow.command import cards_of, snakemake_command, write_left
from nnunet_kits.workflow.folder import DONE, REDO, RunFolder
from nnunet_kits.workflow.outcome import duration
from nnunet_kits.workflow.profile import Profile, find_profile, profile_names
from nnunet_kits.workflow.queue import job_prefix, refuse_jobs_left
from nnunet_kits.workflow.resume import command_left
from nnunet_kits.workflow.step import main

pytestmark = pytest.mark.skipif(os.name == "nt", reason="running a recipe needs Linux or macOS")

PREDICT = ("nnunet_kits", "predict", "--fold-cases", "0", "-o", "predicted")


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs" / "mine")


def line(predict=PREDICT, **changed):
    """A short line of steps."""
    commands = {
        "plan": ("nnunet_kits", "plan", "-d", "220"),
        "train": ("nnUNetv2_train", "220", "2d", "0", "-device", "cuda"),
        "predict": predict,
        "evaluate": ("nnunet_kits", "evaluate", "predicted"),
    } | changed
    names = list(commands)
    return [Step(n, n, commands[n], tuple(names[i - 1 : i] if i else ())) for i, n in enumerate(names)]


def do(folder, *steps):
    for step in steps:
        folder.mark(DONE, step.name, fingerprint(step))


def names(steps):
    return [step.name for step in steps]


# what is left


def test_what_was_done_is_not_left_whatever_the_device_and_the_processes(folder):
    steps = line()
    assert steps_left(folder, steps) == (steps, {})
    do(folder, *steps[:2])
    assert names(steps_left(folder, steps)[0]) == ["predict", "evaluate"]
    elsewhere = line(train=("nnUNetv2_train", "220", "2d", "0", "-device", "cpu", "-num_gpus", "2"))
    assert names(steps_left(folder, elsewhere)[0]) == ["predict", "evaluate"]


def test_a_changed_prediction_and_what_reads_it_are_done_again_and_overwrite(folder):
    do(folder, *line())
    changed = line(predict=("nnunet_kits", "predict", "--fold-cases", "-o", "predicted"))
    left, why = steps_left(folder, changed)
    assert names(left) == ["predict", "evaluate"]
    assert why == {"predict": f"its command was: {' '.join(PREDICT)}", "evaluate": "predict is done again"}
    assert folder.marked(DONE, "predict") is None
    again = steps_left(folder, changed)[0]  # a kill comes before it is done
    assert names(again) == ["predict", "evaluate"]
    redo = folder.marked(REDO, "predict") is not None
    assert command_left(changed[2], {}, redo) == (*changed[2].command, "--overwrite")
    assert command_left(changed[3], {}, redo) == changed[3].command


def test_a_new_fold_makes_what_reads_it_new_too_but_no_training(folder):
    steps = line()
    do(folder, *steps)
    other = Step("train_fold1", "train", ("nnUNetv2_train", "220", "2d", "1"), ("plan",))
    steps = [*steps[:2], other, replace(steps[2], after=("train", "train_fold1")), steps[3]]
    left, why = steps_left(folder, steps)
    assert names(left) == ["train_fold1", "predict", "evaluate"]
    assert why == {"predict": "it reads train_fold1", "evaluate": "it reads predict"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("plan", r"plan was done with another command; its command was: nnunet_kits plan -d 220, and is now: nnunet"),
        ("train", r"train was done with another command; .* delete .*done/train\.json and what train has written\.$"),
    ],
)
def test_a_changed_command_before_a_training_is_refused_and_nothing_is_forgotten(folder, changed, message):
    do(folder, *line())
    with pytest.raises(WorkflowError, match=message):
        steps_left(folder, line(**{changed: ("nnunet_kits", "plan", "-d", "221")}))
    assert steps_left(folder, line()) == ([], {})


def test_a_changed_prediction_whose_masks_a_training_has_read_is_refused(folder):
    masks = Step("masks", "predict", PREDICT)
    train = Step("train", "train", ("nnUNetv2_train", "221", "2d", "0"), ("masks",))
    do(folder, masks, train)
    with pytest.raises(WorkflowError, match=r"masks was done with another command.* train, which is done, has read"):
        steps_left(folder, [replace(masks, command=(*PREDICT, "--step", "0.25")), train])


def test_a_users_file_that_a_command_names_belongs_to_the_command(folder, tmp_path):
    chain = tmp_path / "chain.json"
    chain.write_text("[1]")
    step = Step("postprocess", "postprocess", ("nnunet_kits", "postprocess", "a", "b", "--chain", str(chain)))
    do(folder, step)
    assert steps_left(folder, [step]) == ([], {})
    chain.write_text("[2]")
    assert names(steps_left(folder, [step])[0]) == ["postprocess"]


def test_a_mark_that_was_damaged_is_no_mark(folder):
    steps = line()
    do(folder, steps[0])
    folder.mark_file(DONE, "plan").write_text("{")
    assert names(steps_left(folder, steps)[0]) == names(steps)


# how a training goes on


def checkpoint(path, whole=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", "weights" * 50)
    if not whole:
        path.write_bytes(path.read_bytes()[:-30])


@pytest.fixture
def train(nnunet):
    """A fold's folder, and what its command is given."""
    (nnunet / "nnUNet_preprocessed" / "Dataset220_KiTS2023").mkdir()
    environment = {n: str(nnunet / n) for n in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}

    def given(trainer, *more):
        model = nnunet / "nnUNet_results" / "Dataset220_KiTS2023" / f"{trainer}__KiTSZhangPlans__3d_fullres"
        command = ("nnUNetv2_train", "220", "3d_fullres", "1", "-p", "KiTSZhangPlans", "-tr", trainer, *more)
        step = Step("train", "train", command)

        def added():
            left = command_left(step, environment, redo=False)
            return (None if left is None else [word for word in left if word not in command]), left

        return model / "fold_1", added

    return given


def test_a_training_is_given_what_its_fold_lacks(train):
    fold, added = train("ZhangResUNetTrainer")
    assert added()[0] == []
    checkpoint(fold / LATEST)
    assert added()[0] == ["--c"]
    checkpoint(fold / FINAL)
    assert added()[0] == ["--val"]
    (fold / "validation").mkdir()
    (fold / "validation" / "summary.json").write_text("{}")
    assert added() == (None, None)


def test_a_fine_tuning_that_goes_on_is_not_given_its_first_weights_again(train):
    fold, added = train("ZhangResUNetTrainer", "-pretrained_weights", "w.pth", "--npz")
    assert "-pretrained_weights" in added()[1]
    checkpoint(fold / LATEST)
    assert added()[1][-2:] == ("--npz", "--c")
    assert not {"-pretrained_weights", "w.pth"} & set(added()[1])


@pytest.mark.parametrize("trainer", ["ZhangResUNetTrainer", "nnUNetTrainer"])
def test_a_training_without_a_good_checkpoint_begins_anew(train, trainer):
    fold, added = train(trainer)
    checkpoint(fold / LATEST, whole=False)
    assert added()[0] == []
    assert sorted(path.name for path in fold.iterdir()) == [f"{LATEST}.damaged"]


def test_a_damaged_checkpoint_is_put_aside_where_nnunets_own_trainer_would_load_it(train):
    fold, added = train("nnUNetTrainer")
    checkpoint(fold / BEST)
    checkpoint(fold / LATEST, whole=False)
    assert added()[0] == ["--c"]
    assert sorted(path.name for path in fold.iterdir()) == [BEST, f"{LATEST}.damaged"]
    ours, added = train("ZhangResUNetTrainer")
    checkpoint(ours / "checkpoint_previous.pth")
    checkpoint(ours / LATEST, whole=False)
    assert added()[0] == ["--c"]
    assert (ours / LATEST).exists(), "our trainers go on from the previous one by themselves"


def test_a_training_of_a_dataset_that_is_not_there_is_left_to_nnunet(nnunet):
    step = Step("train", "train", ("nnUNetv2_train", "64", "2d", "0"))
    assert command_left(step, dict(os.environ), redo=False) == step.command


def test_half_written_files_that_nnunet_would_keep_are_removed(nnunet):
    dataset = nnunet / "nnUNet_preprocessed" / "Dataset220_KiTS2023"
    dataset.mkdir()
    (dataset / "dataset_fingerprint.json").write_text('{"spacings": [[1, 1')
    (dataset / "dataset.json").write_text("{}")
    step = Step("fingerprint", "fingerprint", ("nnUNetv2_extract_fingerprint", "-d", "220"))
    assert command_left(step, dict(os.environ), redo=False) == step.command
    assert [path.name for path in dataset.iterdir()] == ["dataset.json"]


def test_a_training_that_ends_well_without_its_results_has_failed(nnunet, tmp_path, monkeypatch, capsys):
    (nnunet / "nnUNet_preprocessed" / "Dataset220_KiTS2023").mkdir()
    fake = tmp_path / "bin" / "nnUNetv2_train"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho trained $OMP_NUM_THREADS.\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = RunFolder(tmp_path / "runs" / "mine")
    environment = {name: os.environ[name] for name in ("nnUNet_preprocessed", "nnUNet_results")}
    folder.write({}, environment, [Step("train", "train", ("nnUNetv2_train", "220", "2d", "0"))])
    assert main([str(folder.steps_file), "train"]) == 1
    assert folder.marked("failed", "train")["error"].startswith("the command ended well, but the fold's final checkpoi")
    assert folder.log("train").read_text().splitlines()[1] == "trained ."


def test_a_log_that_the_system_refuses_is_the_steps_failure(folder):
    folder.write({}, {}, [Step("a", "measure", ("true",))])
    folder.log("a").mkdir(parents=True)
    assert main([str(folder.steps_file), "a"]) == 1
    assert folder.marked("failed", "a")["error"] == f"{folder.log('a')}: Is a directory"


# where steps run


def test_rules_are_given_what_their_steps_need_in_snakemakes_units(folder):
    needs = Resources(gpus=2, cpus=12, memory_gb=62.5, hours=30.25, disk_gb=0.5)
    steps = [Step("a", "plan", ("x",)), Step("train", "train", ("x",), ("a", "done_before"), needs)]
    folder.path.mkdir(parents=True)
    write_left(folder, steps)
    first, second = json.loads((folder.path / "left.json").read_text())
    assert first["resources"] == {"mem_mb": 4000, "disk_mb": 1000, "runtime": 60, "cpus_per_task": 1}
    assert second == {
        **{"name": "train", "after": ["a"]},
        "resources": {"mem_mb": 62500, "disk_mb": 500, "runtime": 1815, "cpus_per_task": 12, "gpu": 2},
    }


def test_on_this_machine_one_step_a_card_and_one_without_on_a_cluster_what_the_profile_says(folder, tmp_path):
    def option(command, name):
        return command[command.index(name) + 1] if name in command else None

    local, slurm = find_profile("local"), Profile(tmp_path / "mine.yaml", "slurm")
    for jobs, cards, cores in ((None, [], "1"), (None, ["0", "1"], "2"), (5, ["0", "1"], "5")):
        command = snakemake_command(folder, local, jobs, cards)
        assert option(command, "--cores") == cores
        assert ("gpu=2" in command) == bool(cards)
    command = snakemake_command(folder, slurm, None, [])
    assert (option(command, "--cores"), option(command, "--jobs")) == (None, None)
    assert option(command, "--slurm-jobname-prefix") == job_prefix(folder.root)
    assert option(snakemake_command(folder, slurm, 7, []), "--jobs") == "7"


@pytest.mark.parametrize(("sacct", "given"), [(None, ["squeue"]), ("exit 1", ["squeue"]), ("exit 0", [])])
def test_without_accounting_the_queue_is_asked_how_jobs_are(folder, tmp_path, monkeypatch, sacct, given):
    monkeypatch.setenv("PATH", str(tmp_path))
    if sacct:
        (tmp_path / "sacct").write_text(f"#!/bin/sh\n{sacct}\n")
        (tmp_path / "sacct").chmod(0o755)
    command = snakemake_command(folder, find_profile("slurm"), None, [])
    assert [command[command.index(o) + 1] for o in command if o == "--slurm-status-command"] == given
    told = Profile(tmp_path / "mine.yaml", "slurm", frozenset({"slurm-status-command"}))
    assert "--slurm-status-command" not in snakemake_command(folder, told, None, [])


def test_a_step_that_needs_more_cards_than_there_are_is_refused(monkeypatch):
    steps = [Step("train", "train", ("x",), resources=Resources(gpus=2))]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(
        WorkflowError, match=r"train needs 2 graphics cards, and 1 can be seen here .* Give --device cpu"
    ):
        cards_of(find_profile("local"), steps)
    assert cards_of(Profile(find_profile("slurm").file, "slurm"), steps) == []


@pytest.mark.parametrize(
    ("told", "cards"), [("0,2", ["0", "2"]), ("", []), ("-1", []), ("1,-1,2", ["1"]), (" GPU-8f ", ["GPU-8f"])]
)
def test_the_cards_are_those_that_cuda_would_see(monkeypatch, told, cards):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert visible_gpus() == cards


def test_without_the_variable_nvidias_tool_is_asked(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: a)'\necho '  MIG 1g: b'\necho 'GPU 1: A (UUID: c)'\n")
    tool.chmod(0o755)
    assert visible_gpus() == ["0", "1"]


def test_the_shipped_profiles_are_found_by_name():
    assert [(name, find_profile(name).executor) for name in profile_names()] == [("local", "local"), ("slurm", "slurm")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"there is no profile '.*mine\.yaml'\. Known: local, slurm; or give a \.yaml file"),
        ("a: [", r"mine\.yaml: not a YAML file \(while parsing"),
        ("jobs", r"mine\.yaml: a profile is lines of 'option: value', Snakemake's own, not 'jobs'"),
        ("executor: no-such", r"executor 'no-such' needs the package snakemake-executor-plugin-no-such\. Install it"),
    ],
)
def test_a_profile_that_is_none_is_refused(tmp_path, content, message):
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(WorkflowError, match=message):
        find_profile(str(file))


def test_without_snakemake_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WorkflowError, match=r"needs Snakemake\. Run: pip install 'nnunet_kits\[workflow\]'; --dry-run"):
        find_profile("local")


def test_jobs_that_a_killed_run_has_left_in_the_queue_are_not_queued_again(folder, tmp_path, monkeypatch):
    slurm = find_profile("slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkflowError, match="squeue cannot be run here"):
        refuse_jobs_left(folder.root, slurm)
    tool = tmp_path / "squeue"
    mine = job_prefix(folder.root)
    tool.write_text(f"#!/bin/sh\necho '11 other_run'\necho '12 {mine}_abc'\necho '13 {mine}_d'\n")
    tool.chmod(0o755)
    with pytest.raises(WorkflowError, match=r"has left jobs in SLURM's queue.*scancel 12 13$"):
        refuse_jobs_left(folder.root, slurm)
    tool.write_text("#!/bin/sh\necho down >&2\nexit 1\n")
    with pytest.raises(WorkflowError, match="squeue fails: down"):
        refuse_jobs_left(folder.root, slurm)
    refuse_jobs_left(folder.root, find_profile("local"))


def test_a_step_that_goes_on_after_its_run_is_waited_for_whatever_its_recipe(tmp_path):
    other = RunFolder(tmp_path / "runs" / "other")
    lock = locks.take(other.lock("train"))
    other.mark("running", "train", {"pid": 7, "host": "here"})
    with pytest.raises(WorkflowError, match=r"other: train of an earlier run is still running \(process 7 on here\)"):
        wait_for_orphans(tmp_path, 0)
    lock.close()
    wait_for_orphans(tmp_path, 0)


def test_a_lock_is_held_by_one_until_it_is_closed(tmp_path):
    file = tmp_path / "locks" / "a"
    assert locks.is_held(file) is False
    held = locks.take(file, "me")
    assert locks.is_held(file)
    assert locks.take(file) is None
    assert locks.note_of(file) == "me"
    held.close()
    assert locks.is_held(file) is False


@pytest.mark.parametrize(
    ("seconds", "words"), [(8.4, "8 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (11100, "3 h 05 min")]
)
def test_durations_read_as_people_say_them(seconds, words):
    assert duration(seconds) == words
