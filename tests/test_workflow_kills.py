"""A real recipe, killed with kill -9 in the middle of its conversion, its training and its prediction."""

import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cheap_steps import kill, session, wait_until

from nnunet_kits.model_folder import FINAL
from nnunet_kits.workflow.folder import DONE, RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="running a recipe needs Linux or macOS"),
]

RECIPE = {
    **{"summary": "One coarse model on phantoms.", "source": "a test", "deviations": [], "release": "23"},
    "phantoms": {"cases": 4, "size": "tiny"},
    "conversion": {"dataset_id": 240, "name": "KiTS2023Phantoms", "labels": "regions", "folds": 2},
    "stages": [{"name": "low", "members": {"low": {
        **{"plans": "KiTSDemoPlans", "configuration": "3d_lowres", "folds": [0]},
        "trainer": "ResUNetTrainer_AdamWCosine_1epochs",
    }}}],
    "inference": {"models": {"fine": ["low"]}},
    "evaluation": {"folds": [0]},
}  # fmt: skip
DATASET = "Dataset240_KiTS2023Phantoms"


def command(recipe, root, *options):
    words = ["run", str(recipe), "--root", str(root), "--device", "cpu", "--smoke", "--until", "predict", *options]
    return [sys.executable, "-m", "nnunet_kits.cli.main", *words]


def killed(recipe, root, when):
    """Run it in a session of its own and, when that is so, kill all of it at once."""
    process = subprocess.Popen(command(recipe, root), start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: when() or process.poll() is not None, 900)
        assert process.poll() is None, "it ended before it was killed"
    finally:
        kill(session(process.pid))
        process.wait()


def test_killed_in_conversion_training_and_prediction_the_same_command_ends_with_what_it_would_have_made(tmp_path):
    recipe, root = tmp_path / "mine.json", tmp_path / "root"
    recipe.write_text(json.dumps(RECIPE))
    folder, raw = RunFolder(root / "runs" / "mine"), root / "nnUNet_raw" / DATASET
    predicted = folder.path / "predicted"

    def is_done(verb):
        return any((folder.path / DONE).glob(f"{verb}*.json"))

    killed(recipe, root, lambda: any(raw.glob("imagesTr/*.nii.gz")))
    assert not is_done("convert")
    logs = root / "nnUNet_results" / DATASET
    killed(recipe, root, lambda: any("Epoch 0" in log.read_text() for log in logs.glob("*/fold_0/training_log*.txt")))
    assert is_done("preprocess")
    assert not is_done("train")
    killed(recipe, root, lambda: any(predicted.glob("*.nii.gz")))
    assert is_done("train")
    assert not is_done("predict")
    before = {file.name: file.stat().st_mtime_ns for file in predicted.glob("*.nii.gz")}

    ended = subprocess.run(command(recipe, root, "--json"), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    states = {step["step"].split("_")[0]: step["state"] for step in json.loads(ended.stdout)["steps"]}
    assert states == {
        **dict.fromkeys(["phantom", "convert", "plan", "preprocess", "train"], "kept"),
        "predict": "done",
    }
    maps = sorted(file.name for file in predicted.glob("*.nii.gz"))
    assert len(maps) == 2
    assert {name: (predicted / name).stat().st_mtime_ns for name in before} == before
    assert (next(logs.glob("*/fold_0")) / FINAL).is_file()
    assert [file for file in root.rglob(".*") if file.name.endswith(".part")] == []

    # the same by hand: the commands of --dry-run, where nothing was killed
    settings = json.loads(folder.steps_file.read_text())
    environment = {**os.environ, **settings["environment"]}
    given = {step["verb"]: step["command"] for step in settings["steps"]}
    again = {**environment, "nnUNet_raw": str(tmp_path / "raw")}
    Path(again["nnUNet_raw"]).mkdir()
    for words, variables in (
        (given["convert"], again),
        ([str(tmp_path / "predicted") if word == str(predicted) else word for word in given["predict"]], environment),
    ):
        subprocess.run(
            [sys.executable, "-m", "nnunet_kits.cli.main", *words[1:]], env=variables, check=True, capture_output=True
        )
    for kind in ("imagesTr", "labelsTr"):
        names = [file.name for file in sorted((raw / kind).iterdir())]
        assert len(names) == 4
        assert filecmp.cmpfiles(raw / kind, tmp_path / "raw" / DATASET / kind, names, shallow=False)[0] == names
    assert filecmp.cmpfiles(predicted, tmp_path / "predicted", maps, shallow=False)[0] == maps
