"""The verb run: options, what is asked before anything runs, and what comes out, on steps that are cheap."""

import json
import os

import pytest
from cheap_steps import counted, step

from nnunet_kits.cli.main import main
from nnunet_kits.recipes.steps import Step
from nnunet_kits.workflow.folder import RunFolder
from nnunet_kits.workflow.graph import boxes_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="running a recipe needs Linux or macOS")


@pytest.fixture
def cheap(monkeypatch):
    """Let a recipe become these steps."""
    given = []
    monkeypatch.setattr("nnunet_kits.recipes.run_checks.checked_steps", lambda recipe, settings: list(given))
    return given


def run(root, *options):
    return main(["run", "smoke", "--root", str(root), "--device", "cpu", *options])


def test_what_failed_is_exit_code_2_and_the_same_command_goes_on(cheap, tmp_path, capfd):
    cheap += [counted("convert", "echo $nnUNet_raw"), step("train", "[ -e mended ]", "convert")]
    assert run(tmp_path, "--json") == 2
    out, err = capfd.readouterr()
    found = json.loads(out)
    folder = tmp_path / "runs" / "smoke"
    assert found["folder"] == str(folder)
    assert found["report"] is None
    assert [(s["step"], s["state"]) for s in found["steps"]] == [("convert", "done"), ("train", "failed")]
    assert "1 of 2 steps are done: 1 now, 0 before; 1 failed, 0 wait." in err
    assert "The same command goes on." in err
    content = json.loads((folder / "steps.json").read_text())
    assert (content["recipe"], content["settings"]["root"]) == ("smoke", str(tmp_path))
    assert content["content"]["release"] == "23"
    assert RunFolder(folder).log("convert").read_text().splitlines()[-1] == str(tmp_path / "nnUNet_raw")
    assert (tmp_path / "nnUNet_raw").is_dir()

    (folder / "mended").touch()
    (folder / "report.html").touch()
    assert run(tmp_path) == 0
    out, _ = capfd.readouterr()
    assert out.splitlines()[0] == "1 of 2 steps were done before."
    assert out.splitlines()[-2:] == ["2 of 2 steps are done: 1 now, 1 before.", f"Report: {folder / 'report.html'}"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--profile", "pbs"), "there is no profile 'pbs'. Known: local, slurm; or give a .yaml file"),
        (("--graph", "steps.gif"), "steps.gif: a graph is drawn as .svg, .png, .pdf. Give its file one of these"),
        (("--graph", "no/such/steps.svg"), "there is no folder"),
    ],
)
def test_bad_options_are_one_line_before_anything_is_read(tmp_path, capsys, options, message):
    assert run(tmp_path / "root", *options) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "root").exists()


def test_who_starts_a_whole_recipe_without_a_card_is_told(cheap, tmp_path, monkeypatch, capsys):
    cheap += [counted("convert")]
    asked = ["run", "kits23_ours", "--data", str(tmp_path), "--root", str(tmp_path / "root")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    told = "No graphics card is seen here, so everything is for the CPU. What it takes of a card: nnunet_kits recipes "
    assert main(asked) == 0
    assert capsys.readouterr().out.startswith(told + "show kits23_ours --cost. To try the steps: --smoke.\n")
    assert main([*asked, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith(f"# {told}")  # which a shell passes over
    for more in (["--device", "cpu"], ["--profile", "slurm"], ["--smoke"]):
        assert main([*asked, "--dry-run", *more]) == 0
        assert told not in capsys.readouterr().out


def test_a_card_is_taken_where_there_is_one_and_on_a_cluster(tmp_path, monkeypatch, capsys):
    asked = ["run", "smoke", "--root", str(tmp_path), "--dry-run"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(asked) == 0
    assert "-device cpu" in capsys.readouterr().out
    assert main([*asked, "--profile", "slurm"]) == 0
    assert "-device" not in capsys.readouterr().out
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert main(asked) == 0
    assert "-device" not in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_graph_is_a_picture_and_nothing_runs(tmp_path, kind, begins):
    file = tmp_path / f"steps.{kind}"
    assert run(tmp_path / "root", "--dry-run", "--graph", str(file)) == 0
    assert file.read_bytes().startswith(begins)
    assert not (tmp_path / "root").exists()


def test_folds_are_one_box_below_all_that_they_read_and_arrows_that_say_nothing_new_are_left_out():
    def step(name, verb, *after):
        return Step(name, verb, ("x",), after)

    folds = [f"train_220_KiTSCascadePlans_3d_lowres_ResUNetTrainer_fold{fold}" for fold in range(3)]
    steps = [
        step("convert_220", "convert"),
        step("plan_220_KiTSCascadePlans", "plan", "convert_220"),
        *(step(name, "train", "plan_220_KiTSCascadePlans", "convert_220") for name in folds),
        step("predict", "predict", *folds),
        step("measure", "measure", "predict"),
        step("evaluate", "evaluate", "predict"),
    ]
    convert, plan, train, predict, measure, evaluate = boxes_of(steps).values()
    assert (train.verb, train.folds, train.lines) == ("train", 3, ["220 KiTSCascadePlans 3d_lowres", "ResUNetTrainer"])
    assert train.before == ["plan_220_KiTSCascadePlans"]
    assert predict.before == ["train_220_KiTSCascadePlans_3d_lowres_ResUNetTrainer"]
    assert [box.row for box in (convert, plan, train, predict, measure, evaluate)] == [0, 1, 2, 3, 4, 4]
    assert sorted([measure.column, evaluate.column]) == [-0.5, 0.5]


def test_a_line_that_goes_far_runs_beside_the_boxes_between():
    steps = [
        Step("train", "train", ("x",)),
        Step("evaluate_alone", "evaluate", ("x",), ("train",)),
        Step("other", "train", ("x",)),
        Step("fine", "train", ("x",), ("other",)),
        Step("end", "predict", ("x",), ("train", "fine")),
    ]
    boxes = boxes_of(steps)
    (passed,) = [box for box in boxes.values() if not box.verb]
    assert (passed.row, passed.before) == (1, ["train"])
    assert boxes["end"].before == ["train to row 1", "fine"]
    assert len({boxes[name].column for name in ("evaluate_alone", "fine")} | {passed.column}) == 3
