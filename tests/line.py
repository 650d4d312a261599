"""Run stock nnU-Net commands and ours in a small world of their own, as a user would: other directory, own folders."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_kits.environment import SHIM_FOLDER

DATASET = "Dataset220_KiTS2023"
PLANS = "KiTSDemoPlans"
TRAINER = "ResUNetTrainer_AdamWCosine_1epochs"


@dataclass
class World:
    """Folders, environment and commands of one end-to-end run."""

    root: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        folders = {name: str(self.root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        for folder in folders.values():
            Path(folder).mkdir(parents=True, exist_ok=True)
        settings = {"nnUNet_def_n_proc": "1", "nnUNet_compile": "F"}
        cleaned = {k: v for k, v in os.environ.items() if not k.startswith("nnUNet")}
        return {**cleaned, **folders, **settings, "nnUNet_extTrainer": str(SHIM_FOLDER), **self.extra}

    @property
    def raw(self) -> Path:
        return self.root / "nnUNet_raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        return self.root / "nnUNet_preprocessed" / DATASET

    @property
    def results(self) -> Path:
        return self.root / "nnUNet_results" / DATASET

    def model(self, configuration: str, trainer: str = TRAINER, plans: str = PLANS) -> Path:
        return self.results / f"{trainer}__{plans}__{configuration}"

    def start(self, *command: object) -> subprocess.Popen[str]:
        program = shutil.which(str(command[0])) or str(Path(sys.executable).with_name(str(command[0])))
        words = [program, *(str(word) for word in command[1:])]
        environment = self.environment
        if command[0] == "nnUNetv2_train" or "cascade" in command:
            environment["nnUNet_n_proc_DA"] = "0"
        return subprocess.Popen(
            words, env=environment, cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *command: object, fails: bool = False) -> str:
        """Run a command and return what it printed; it must succeed, or fail where that is the point."""
        process = self.start(*command)
        output = process.communicate(timeout=400)[0]
        assert bool(process.returncode) == fails, f"{command} ended with {process.returncode}:\n{output[-4000:]}"
        return output

    def train(
        self, configuration: str, fold: object, *flags: str, trainer: str = TRAINER, plans: str = PLANS, fails=False
    ):
        return self.run(
            *("nnUNetv2_train", 220, configuration, fold, "-p", plans, "-tr", trainer, "-device", "cpu"),
            *flags,
            fails=fails,
        )

    def predict(self, output: Path, configuration: str, folds: tuple[object, ...], *more: object) -> None:
        self.run(
            *("nnUNetv2_predict", "-i", self.raw / "imagesTs", "-o", output, "-d", 220, "-c", configuration),
            *("-p", PLANS, "-tr", TRAINER, "-f", *folds, *QUICK, *more),
        )

    def shorten(self, plans: str = PLANS, **settings: object) -> None:
        """Few iterations an epoch, by the plans' own settings for our trainers."""
        file = self.preprocessed / f"{plans}.json"
        content = json.loads(file.read_text())
        for configuration in content["configurations"].values():
            if "inherits_from" not in configuration:
                few = {"num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1}
                configuration["kits_training"] = {**configuration.get("kits_training", {}), **few, **settings}
        file.write_text(json.dumps(content))


QUICK = ("-device", "cpu", "-npp", "0", "-nps", "0", "--disable_tta", "--disable_progress_bar")
