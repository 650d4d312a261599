"""``predict --backend openvino`` beside torch: the same logits, and the same label maps but for ties."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from small_models import ByIntensity, model, plans_with, write_model_folder
from small_plans import architecture
from test_architectures import PATCH, build
from test_inference import abdomen
from torch import nn

from nnunet_kits.cli.main import main
from nnunet_kits.errors import InferenceError
from nnunet_kits.inference.converted import ConvertedFolds
from nnunet_kits.inference.memory import CONVERSION_BYTES, bytes_needed
from nnunet_kits.inference.model import load_model
from nnunet_kits.segment import Models

if importlib.util.find_spec("openvino") is None:  # importing it would bring its telemetry
    pytest.skip("the extra cpu is not installed", allow_module_level=True)

CPU = torch.device("cpu")
SPACING, SHAPE = (3.0, 2.0, 2.0), (20, 32, 36)
IPL = np.array([[0, 0, -2.0, 0], [0, -2.0, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1.0]])


@pytest.fixture
def scan(tmp_path):
    """A CT with two kidneys, for models whose voxels are not its own."""
    image = abdomen(SHAPE, ((10, 16, 9), (10, 16, 26))) + np.random.default_rng(0).normal(0, 30, SHAPE)
    file = tmp_path / "in" / "case_00001_0000.nii.gz"
    file.parent.mkdir()
    nib.save(nib.Nifti1Image(image, IPL), file)
    return file


def by_both(tmp_path, scan, *options):
    """The folders into which torch and OpenVINO predict a CT."""
    for backend in ("torch", "openvino"):
        out = ["-o", str(tmp_path / backend), "--backend", backend]
        assert main(["predict", "-i", str(scan), *out, *map(str, options)]) == 0
    return tmp_path / "torch", tmp_path / "openvino"


def labels(folder):
    """A label map in the axis order of the models' reader, which is that of the probabilities."""
    return np.asarray(nib.as_closest_canonical(nib.load(folder / "case_00001.nii.gz")).dataobj).transpose(2, 1, 0)


@pytest.mark.parametrize(
    ("network", "topology"),
    [("ResUNet", "3d"), ("PreActResUNet", "2d"), ("PlainUNet", "2.5d"), ("StemResUNet", "3d")],
)
def test_each_folds_logits_are_torchs_whichever_fold_is_asked_for(network, topology):
    ours, folds = build(network, topology).eval(), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        noise = {key: torch.randn(value.shape).to(value.dtype) / 20 for key, value in ours.state_dict().items()}
        folds.append({key: value + noise[key].to(value.dtype) for key, value in ours.state_dict().items()})
        folds[-1] |= {key: value.abs() + 0.5 for key, value in folds[-1].items() if key.endswith("running_var")}
    converted = ConvertedFolds(ours, folds, (1, 1, *PATCH[topology]))
    windows = torch.randn(3, 1, *PATCH[topology][::-1]).transpose(2, -1)
    if topology != "2d":
        windows = windows.reshape(3, 1, *PATCH[topology])
    with torch.inference_mode():
        for fold in (1, 0, 1):
            ours.load_state_dict(folds[fold])
            expected = ours(windows)
            assert expected.std() > 0.01
            torch.testing.assert_close(converted[fold](windows), expected, rtol=0, atol=2e-4)
    assert len(list(converted)) == 2


def test_logits_of_a_large_window_are_as_near_to_double_precision_as_torchs():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 8, 3), nn.InstanceNorm3d(8, affine=True), nn.LeakyReLU(), nn.Conv3d(8, 3, 1))
    for parameter in network.eval().parameters():
        nn.init.normal_(parameter, 0.3, 0.5)
    window = torch.randn(1, 1, 72, 72, 72) + 2
    (converted,) = ConvertedFolds(network, [network.state_dict()], window.shape)
    with torch.inference_mode():
        found, by_torch, exact = converted(window), network(window), network.double()(window.double())
    assert (by_torch - exact).abs().max() < 2e-5
    assert (found - exact).abs().max() < 2e-5


def test_a_cascade_of_two_folds_mirrored_and_compared_gives_torchs_label_maps_but_for_ties(nnunet, tmp_path, scan):
    plans = plans_with(spacing=(2.7, 1.9, 1.9), architecture=architecture(stages=2))
    write_model_folder(nnunet / "nnUNet_results", plans, "3d_lowres", folds=(0, 1))
    fine = write_model_folder(nnunet / "nnUNet_results", plans, "3d_cascade_fullres", folds=(0, 1), seed=5)
    options = ("--fine", fine, "--mirror-axes", "z", "x", "--agreement", "--save-probabilities", "--step", "1")
    by_torch, by_openvino = by_both(tmp_path, scan, *options)
    expected, found = labels(by_torch), labels(by_openvino)
    assert len(np.unique(expected)) > 1
    probabilities = np.load(by_torch / "case_00001.npz")["probabilities"]
    second, first = np.sort(probabilities, 0)[-2:]
    assert ((first - second)[expected != found] < 1e-2).all()
    assert np.mean(expected != found) < 1e-3
    assert np.abs(np.load(by_openvino / "case_00001.npz")["probabilities"] - probabilities).max() < 2e-2
    tables = [(folder / "agreement.csv").read_text().splitlines() for folder in (by_torch, by_openvino)]
    assert len(tables[0]) == len(tables[1]) > 3
    records = [json.loads((folder / "prediction.json").read_text()) for folder in (by_torch, by_openvino)]
    assert records[0]["made_with"] == records[1]["made_with"]  # either goes on with what the other began


def test_a_system_of_a_two_dimensional_model_gives_torchs_label_map_but_for_ties(tmp_path, scan):
    plans = plans_with(spacing=(3.0, 1.9, 1.9), patch=(24, 24), architecture=architecture(2, dimensions=2))
    two = {"background": 0, "kidney": 1, "tumor": 2}
    folder = write_model_folder(tmp_path / "models", plans, "3d_fullres", labels=two, trainer="PlainUNetTrainer")
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(file), "inference_allowed_mirroring_axes": (0, 1)}, file)
    by_torch, by_openvino = by_both(tmp_path, scan, "--system", "kits19_chenjin", "--model", f"model={folder}")
    expected = labels(by_torch)
    assert len(np.unique(expected)) > 1
    assert np.mean(expected != labels(by_openvino)) < 1e-3


def test_segment_takes_it_too_and_then_the_cpu(nnunet, tmp_path, monkeypatch, capsys):
    folder = write_model_folder(nnunet / "nnUNet_results", plans_with(), "3d_fullres")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    job = Models((str(folder),), backend="openvino").job()
    assert (job.backend, job.device) == ("openvino", "cpu")
    assert Models((str(folder),)).job().device == "cuda"
    asked = ["segment", str(tmp_path), "-o", str(tmp_path / "out"), "--model", str(folder), "--backend", "openvino"]
    assert main([*asked, "--device", "cuda"]) == 2
    assert "backend openvino runs on the CPU, not on cuda" in capsys.readouterr().err

    def handed(source, output, models, **_):
        raise InferenceError(f"by {models.backend}")

    monkeypatch.setattr("nnunet_kits.segment.segment", handed)
    assert main(asked) == 2
    assert "by openvino" in capsys.readouterr().err


class Branching(nn.Module):
    """Goes another way where it sees a dark window."""

    def forward(self, x):
        return torch.cat([x, -x], 1) if x.mean() > 0 else torch.cat([-x, x], 1)


class Unheard(nn.Module):
    """Calls what OpenVINO does not know."""

    def forward(self, x):
        return torch.special.bessel_j0(x)


@pytest.mark.parametrize("network", [Branching(), Unheard()])
def test_a_network_that_openvino_cannot_run_is_refused_in_one_line(network, recwarn):
    with pytest.raises(InferenceError, match=r"OpenVINO cannot run the network .*Leave --backend openvino out") as told:
        ConvertedFolds(network.eval(), [{}], (1, 1, 4, 4, 4))[0]
    assert "\n" not in str(told.value)


def test_what_cannot_be_is_told_before_torch_is_imported(tmp_path):
    code = """
import sys
from nnunet_kits.cli.main import main
if sys.argv[1] == "gone":
    import importlib.util
    importlib.util.find_spec = lambda name: None
code = main(["predict", "-i", "x", "-o", "y", "--fine", "z", "--backend", "openvino", *sys.argv[2:]])
assert "torch" not in sys.modules
sys.exit(code)
"""
    for arguments, told in (
        (["there", "--device", "cuda"], "backend openvino runs on the CPU, not on cuda"),
        (["gone"], r"backend openvino is not installed. Run: pip install 'nnunet_kits[cpu]'"),
    ):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
    with pytest.raises(InferenceError, match="runs on the CPU, not on cuda"):
        load_model(tmp_path, torch.device("cuda"), backend="openvino")
    with pytest.raises(InferenceError, match="backend 'onnx': is torch or openvino"):
        load_model(tmp_path, CPU, backend="onnx")


def test_openvinos_telemetry_is_not_imported_and_leaves_nothing_in_the_home_folder(tmp_path):
    code = """
import sys
from nnunet_kits.inference.converted import import_openvino
assert callable(import_openvino().convert_model)
assert "openvino_telemetry" not in sys.modules
"""
    outside = {key: value for key, value in os.environ.items() if key not in ("CI", "TF_BUILD", "JENKINS_URL")}
    subprocess.run([sys.executable, "-c", code], env={**outside, "HOME": str(tmp_path)}, check=True)
    assert list(Path(tmp_path).iterdir()) == []


def test_the_memory_of_openvinos_copies_is_reckoned_with():
    ours = model(ByIntensity(), plans_with())
    ours.network = nn.Conv3d(1, 4, 3)
    ours.weights = [ours.network.state_dict()] * 2
    scan = (((ours, 1.0),), (20, 64, 64), SPACING, 2)
    before = bytes_needed(*scan)
    ours.backend = "openvino"
    assert bytes_needed(*scan) - before == CONVERSION_BYTES + 2 * 4 * (4 * 27 + 4)
