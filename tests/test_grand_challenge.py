"""The entry point for grand-challenge.org, run without a container and without network; and the Dockerfile's names."""

import importlib
import json
import logging
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from small_models import plans_with, write_model_folder
from test_images_formats import image_of
from test_predict_dicom import ct

from nnunet_kits import grand_challenge
from nnunet_kits.grand_challenge import SLUG, main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def job(nnunet, tmp_path, monkeypatch):
    """Folders of a job with a CT, a model by the container's variables, and no network; the folders."""

    def refused(*_):
        raise AssertionError("the network is asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    plans = {**plans_with(spacing=(2.7, 0.6, 0.9)), "image_reader_writer": "SimpleITKIO"}
    model = write_model_folder(nnunet / "nnUNet_results", plans, "3d_lowres", folds=(0, 1), seed=12)
    monkeypatch.setenv("NNUNET_KITS_MODEL", str(model))
    monkeypatch.setenv("NNUNET_KITS_COARSE", "")
    (tmp_path / "input" / "images" / "ct").mkdir(parents=True)
    SimpleITK.WriteImage(image_of(ct(), "axial"), str(tmp_path / "input" / "images" / "ct" / "5f2c.mha"))
    return tmp_path / "input", tmp_path / "output"


def words(job):
    return ["--input", str(job[0]), "--output", str(job[1])]


def test_a_job_gives_its_label_map_and_measures_and_nothing_else(job):
    level = logging.getLogger("nnunet_kits").level
    assert main(words(job)) == 0
    assert logging.getLogger("nnunet_kits").level == level  # of whoever called
    files = [path.relative_to(job[1]).as_posix() for path in job[1].rglob("*") if path.is_file()]
    assert sorted(files) == [f"images/{SLUG}/5f2c.mha", f"{SLUG}-measures.json"]
    labels = SimpleITK.ReadImage(str(job[1] / "images" / SLUG / "5f2c.mha"))
    scan = SimpleITK.ReadImage(str(job[0] / "images" / "ct" / "5f2c.mha"))
    assert (labels.GetSize(), labels.GetSpacing()) == (scan.GetSize(), scan.GetSpacing())
    assert (labels.GetOrigin(), labels.GetDirection()) == (scan.GetOrigin(), scan.GetDirection())
    voxels = SimpleITK.GetArrayFromImage(labels)
    assert voxels.dtype == np.uint8
    measured = json.loads((job[1] / f"{SLUG}-measures.json").read_text())["cases"]["5f2c"]["structures"]
    tumor_ml = sum(one["volume_ml"] for one in measured if one["structure"] == "tumor")
    assert tumor_ml > 0
    assert tumor_ml == pytest.approx((voxels == 2).sum() * np.prod(scan.GetSpacing()) / 1000)


@pytest.mark.parametrize("key", ["socket", "interface"])
def test_the_platform_says_where_the_image_lies_and_which_slug_takes_the_result(job, key, monkeypatch):
    monkeypatch.setenv("NNUNET_KITS_SLUG", "renal-masses")
    (job[0] / "images" / "ct").rename(job[0] / "images" / "kidney-ct")
    listed = [{key: {"slug": "age", "relative_path": "age.json"}, "value": 61}]
    listed += [{key: {"slug": "kidney-ct", "relative_path": "images/kidney-ct"}, "image": {"name": "5f2c.mha"}}]
    (job[0] / "inputs.json").write_text(json.dumps(listed))
    assert main(words(job)) == 0
    assert (job[1] / "images" / "renal-masses" / "5f2c.mha").is_file()


def test_what_is_wrong_with_a_job_is_one_line_and_exit_code_2(job, capsys, monkeypatch):
    listed = [{"socket": {"relative_path": f"images/{name}"}} for name in ("ct", "mr")]
    for content, told in (
        (json.dumps(listed), "the job has 2 images (images/ct, images/mr)"),
        ("{", "is no JSON"),
        ('[{"socket": {"relative_path": "images/pet"}}]', "images/pet: holds no .mha file"),
    ):
        (job[0] / "inputs.json").write_text(content)
        assert main(words(job)) == 2
        assert told in capsys.readouterr().err
    (job[0] / "inputs.json").unlink()
    monkeypatch.setenv("NNUNET_KITS_MODELS", str(job[0] / "models"))
    assert main([*words(job), "--model", "renal-net"]) == 2
    assert capsys.readouterr().err.startswith("nnunet_kits: error: job: renal-net: is not installed")
    (job[0] / "images" / "ct" / "bad.mha").write_bytes(b"no image")
    assert main(words(job)) == 2
    assert "error: bad: " in capsys.readouterr().err
    assert (job[1] / "images" / SLUG / "5f2c.mha").is_file()


def test_the_dockerfile_copies_what_there_is_runs_without_root_and_starts_what_exists():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert {"setup.py", "nnunet_kits"} <= {name for name in copied if (ROOT / name).exists()} == set(copied)
    kept_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in copied} <= set(kept_out)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["1000"]
    (module,) = re.findall(r'^ENTRYPOINT \["python", "-m", "(.+)"\]$', "\n".join(lines), re.MULTILINE)
    assert importlib.import_module(module) is grand_challenge
    source = Path(grand_challenge.__file__).read_text()
    variables = set(re.findall(r"\bNNUNET_KITS_\w+(?==\$)", "\n".join(lines)))
    assert variables == set(re.findall(r'given\("(NNUNET_KITS_\w+)"\)', source))
