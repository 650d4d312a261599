"""What ``predict`` imports: not nnU-Net's trainers, where it knows what they would build."""

import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from small_models import plans_with, write_model_folder
from small_plans import dataset_json

from nnunet_kits.inference.network import build_network

HEAVY = (
    "nnunetv2.training.nnUNetTrainer.nnUNetTrainer",
    "nnunet_kits.training.base",
    *("torch._dynamo", "torchvision", "timm", "sympy", "wandb"),
    *("pandas", "sklearn", "seaborn", "matplotlib", "numba", "monai", "openvino"),
)
CODE = f"""
import sys
from nnunet_kits.cli.main import main
image, out, *models = sys.argv[1:]
for number, model in enumerate(models):
    assert main(["predict", "-i", image, "-o", out + str(number), "--fine", model, "--disable_tta"]) == 0
print(*(name for name in {HEAVY!r} if name in sys.modules))
"""


def named(folder, trainer):
    """A model folder whose checkpoint says that another trainer made it."""
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(file), "trainer_name": trainer}, file)
    return folder


def test_predicting_with_our_trainers_and_nnunets_imports_neither_trainers_nor_what_only_they_use(nnunet, tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((8, 12, 12)), np.diag([-2.0, -2, 3, 1])), tmp_path / "a_0000.nii.gz")
    ours = write_model_folder(nnunet / "ours", plans_with(), "3d_fullres")
    stock = write_model_folder(nnunet / "stock", plans_with(), "3d_fullres", trainer="PlannedUNetTrainer")
    arguments = (tmp_path / "a_0000.nii.gz", tmp_path / "out", ours, named(stock, "nnUNetTrainer"))
    command = [sys.executable, "-c", CODE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize(
    "trainer", ["nnUNetTrainer", "PlannedUNetTrainer", "ResUNetTrainer_250epochs", "ZhangResUNetTrainer"]
)
def test_networks_are_those_of_the_trainers_that_nnunet_finds(nnunet, trainer):
    manager = PlansManager(plans_with())
    configuration = manager.get_configuration("3d_fullres")
    torch.manual_seed(0)
    found = build_network(trainer, manager, configuration, dataset_json())
    build = recursive_find_trainer_class_by_name(trainer).build_network_architecture
    torch.manual_seed(0)
    expected = build(manager, configuration, 1, 4, False)
    assert str(found) == str(expected)
    assert all(
        torch.equal(a, b) for a, b in zip(found.state_dict().values(), expected.state_dict().values(), strict=True)
    )


def test_a_trainer_of_our_name_in_a_folder_before_ours_is_nnunets_choice(nnunet, tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "their_trainers.py").write_text(
        "import torch\nfrom nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n\n\n"
        "class ResUNetTrainer(nnUNetTrainer):\n"
        "    @staticmethod\n"
        "    def build_network_architecture(plans_manager, configuration_manager, *_, **__):\n"
        "        return torch.nn.Identity()\n"
    )
    monkeypatch.setenv(
        "nnUNet_extTrainer", os.pathsep.join([str(tmp_path / "theirs"), os.environ["nnUNet_extTrainer"]])
    )
    manager = PlansManager(plans_with())
    found = build_network("ResUNetTrainer", manager, manager.get_configuration("3d_fullres"), dataset_json())
    assert isinstance(found, torch.nn.Identity)
