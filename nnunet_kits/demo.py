"""The whole line on embedded data: phantoms in, a trained and scored cascade and a report out, by stock commands.

Every step prints the command that a user would type and is skipped when it was finished before, so that a killed demo
goes on where it was.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits import __version__
from nnunet_kits.atomic import write_text
from nnunet_kits.environment import CPU_VARIABLES, FOLDER_VARIABLES, SHIM_FOLDER, TRAINER_VARIABLE, waiting
from nnunet_kits.errors import KitsError
from nnunet_kits.training.cascade import Cascade, load_cascade, run_command, train_cascade

DATASET_ID = 220
DATASET = "Dataset220_KiTS2023"
CASCADE = "3d_cascade_fullres"
LOWRES = "3d_lowres"
FULLRES = "3d_fullres"


@dataclass(frozen=True)
class Form:
    """One size of the demo.

    Attributes:
        name: ``whole`` or ``quick``.
        cases: phantoms to train on.
        test_cases: phantoms to predict, unseen by the training.
        size: size of the phantoms.
        plans: preset.
        trainer: trainer of both stages.
    """

    name: str
    cases: int
    test_cases: int
    size: str
    plans: str
    trainer: str


WHOLE = Form("whole", 16, 3, "small", "KiTSDemoPlans", "ResUNetTrainer_AdamWCosine_4epochs")
QUICK = Form("quick", 4, 2, "tiny", "KiTSDemoPlans", "ResUNetTrainer_AdamWCosine_1epochs")


class Progress:
    """What is done, kept in ``progress.json``: step -> seconds it took."""

    def __init__(self, out: Path, form: Form) -> None:
        self.file = out / "progress.json"
        out.mkdir(parents=True, exist_ok=True)
        if self.file.is_file():
            content = json.loads(self.file.read_text(encoding="utf-8"))
        elif any(out.iterdir()):
            raise KitsError(f"{out} holds something else. Give the demo a new or empty folder: --out FOLDER.")
        else:
            content = {"form": form.name, "version": __version__, "seconds": {}}
        if (content["form"], content["version"]) != (form.name, __version__):
            raise KitsError(
                f"{out} holds a demo in its {content['form']} form of version {content['version']}, not the "
                f"{form.name} form of {__version__}. Give another folder (--out FOLDER) or delete it."
            )
        self.content = content
        self._write()

    @property
    def seconds(self) -> dict[str, float]:
        """Step -> seconds."""
        found: dict[str, float] = self.content["seconds"]
        return found

    def run(self, step: str, commands: Sequence[Sequence[str]]) -> None:
        """Run the commands of a step, unless it is done."""
        if step in self.seconds:
            print(f"\n# {step}: done before")
            return
        with self.timed(step):
            for command in commands:
                run_command(list(command))

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Time a step and note it as done when it ends well; a step that is run again adds its time."""
        print(f"\n# {step}")
        start = time.monotonic()
        yield
        self.seconds[step] = round(self.seconds.get(step, 0) + time.monotonic() - start, 1)
        self._write()

    def _write(self) -> None:
        write_text(self.file, json.dumps(self.content, indent=2))


def run_demo(out: Path, form: Form, device: str) -> Path:
    """Run the demo.

    Args:
        out: folder for everything; a demo begun there with the same form goes on.
        form: :data:`WHOLE` or :data:`QUICK`.
        device: ``cuda``, ``cpu`` or ``mps``.

    Returns:
        The report.

    Raises:
        KitsError: a folder with something else in it, or a command that failed.
    """
    from nnunet_kits.training.devices import check_device

    check_device(device)
    out = out.resolve()
    started = time.monotonic()
    progress = Progress(out, form)
    _set_environment(out, device)
    _prepare(out, form, progress, device)
    cascade = load_cascade(DATASET_ID, form.plans, form.trainer, device=device)
    with progress.timed("train"):
        print(f"$ nnunet_kits cascade -d {DATASET_ID} -p {form.plans} -tr {form.trainer} --folds 0 --device {device}")
        print("which runs, where it is not done yet:")
        train_cascade(cascade, folds=[0])
    _predict(out, form, progress, device)
    _postprocess_and_score(out, cascade, progress)
    report = _report(out, cascade, progress)
    _say_goodbye(out, report, time.monotonic() - started)
    return report


def _set_environment(out: Path, device: str) -> None:
    """nnU-Net's folders below ``out``, and on a machine without GPU few processes, each of which imports torch."""
    settings = {name: str(out / name) for name in FOLDER_VARIABLES}
    settings[TRAINER_VARIABLE] = str(SHIM_FOLDER)
    if device == "cpu":
        settings |= CPU_VARIABLES | waiting(os.environ)
    for name, value in settings.items():
        if name in FOLDER_VARIABLES:
            Path(value).mkdir(exist_ok=True)
        os.environ[name] = value
    print("# nnU-Net's environment for this demo")
    for name, value in settings.items():
        print(f"export {name}={value}")


def _prepare(out: Path, form: Form, progress: Progress, device: str) -> None:
    phantoms, labels = str(out / "phantoms"), str(out / "phantoms_test_labels")
    number = str(DATASET_ID)
    progress.run(
        "make phantoms",
        [
            ["nnunet_kits", "phantom", phantoms, "--year", "23", "--cases", str(form.cases)]
            + ["--test-cases", str(form.test_cases), "--keep-test-labels", labels, "--size", form.size, "--jobs", "2"]
        ],
    )
    progress.run(
        "convert",
        [["nnunet_kits", "convert", "--year", "23", f"{phantoms}/dataset", "--labels", "regions", "--folds", "2"]],
    )
    progress.run("fingerprint", [["nnUNetv2_extract_fingerprint", "-d", number, "-np", "2"]])
    progress.run("plan", [["nnunet_kits", "plan", "-d", number, "--preset", form.plans]])
    progress.run(
        "preprocess",
        [["nnUNetv2_preprocess", "-d", number, "-plans_name", form.plans, "-c", LOWRES, FULLRES, "-np", "2"]],
    )
    if device == "cpu":
        os.environ["nnUNet_n_proc_DA"] = "0"  # not before: nnU-Net's planner needs it above 0
        print("export nnUNet_n_proc_DA=0")


def _predict(out: Path, form: Form, progress: Progress, device: str) -> None:
    images = str(out / "nnUNet_raw" / DATASET / "imagesTs")
    model = ["-d", str(DATASET_ID), "-p", form.plans, "-tr", form.trainer, "-device", device]
    quick = ["-npp", "0", "-nps", "0", "--disable_tta", "--disable_progress_bar"] if device == "cpu" else []
    coarse, fine = str(out / "predictions" / LOWRES), str(out / "predictions" / CASCADE)
    progress.run(
        "predict unseen cases",
        [
            ["nnUNetv2_predict", "-i", images, "-o", coarse, *model, "-c", LOWRES, "-f", "0", "1", *quick],
            ["nnUNetv2_predict", "-i", images, "-o", fine, *model, "-c", CASCADE, "-f", "0"]
            + ["-prev_stage_predictions", coarse, *quick],
        ],
    )


def _postprocess_and_score(out: Path, cascade: Cascade, progress: Progress) -> None:
    model = cascade.stage.next_model.path
    validation = cascade.stage.next_model.fold(0) / "validation"
    truth = out / "nnUNet_preprocessed" / DATASET / "gt_segmentations"
    described = ["-plans_json", str(model / "plans.json"), "-dataset_json", str(model / "dataset.json")]
    raw, final = str(out / "predictions" / CASCADE), str(out / "predictions" / "postprocessed")
    one = ["-np", "1"]
    progress.run(
        "determine postprocessing",
        [["nnUNetv2_determine_postprocessing", "-i", str(validation), "-ref", str(truth), *described, *one]],
    )
    chosen = ["-pp_pkl_file", str(validation / "postprocessing.pkl")]
    progress.run("postprocess", [["nnUNetv2_apply_postprocessing", "-i", raw, "-o", final, *chosen, *described, *one]])
    files = ["-djfile", str(model / "dataset.json"), "-pfile", str(model / "plans.json")]
    summary = ["-o", str(out / "scores.json")]
    progress.run(
        "score",
        [["nnUNetv2_evaluate_folder", str(out / "phantoms_test_labels"), final, *files, *summary, *one]],
    )


def _report(out: Path, cascade: Cascade, progress: Progress) -> Path:
    """Scores by the challenge's metrics, measures, and the report."""
    predicted, truth = str(out / "predictions" / "postprocessed"), str(out / "phantoms_test_labels")
    images, report = str(out / "nnUNet_raw" / DATASET / "imagesTs"), out / "report.html"
    stages = cascade.stage.model, cascade.stage.next_model
    models = [word for stage in stages for word in ("--model", str(stage.path))]
    progress.run(
        "evaluate and measure",
        [
            ["nnunet_kits", "evaluate", predicted, truth, "--year", "23", "-o", str(out / "evaluation")],
            ["nnunet_kits", "measure", predicted, "--images", images, "-o", str(out / "measures")],
        ],
    )
    with progress.timed("report"):  # always, so that its scores are printed
        run_command(
            ["nnunet_kits", "report", "--images", images, "--predictions", predicted, "--references", truth, *models]
            + ["--year", "23", "--title", "Unseen phantoms through a low-res to full-res cascade", "-o", str(report)]
        )
    return report


def next_commands() -> list[str]:
    """What to type for real data."""
    return [
        'eval "$(nnunet_kits env --root ~/nnunet)"',
        "nnunet_kits convert --year 23 ~/kits23/dataset",
        "nnUNetv2_extract_fingerprint -d 220",
        "nnunet_kits plan -d 220 --preset KiTSCascadePlans",
        "nnunet_kits preprocess -d 220 -p KiTSCascadePlans",
        "nnunet_kits cascade -d 220 -p KiTSCascadePlans -tr ResUNetTrainer",
    ]


def _say_goodbye(out: Path, report: Path, seconds: float) -> None:
    megabytes = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) // 2**20
    print(f"\nDone in {seconds:.0f} s; everything is in {out} ({megabytes} MB).")
    print(f"Report: {report}")
    print("With real data:")
    for command in next_commands():
        print(f"  {command}")


def default_device() -> str:
    """``cuda`` where there is one, else ``cpu`` (nnU-Net on ``mps`` is slower than it is worth for so small a net)."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
