"""The verb ``predict``: coarse to fine, or by a system of several models, with any trained nnU-Net model."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_kits.cli.output import Result
from nnunet_kits.model_folder import FINAL

if TYPE_CHECKING:
    from nnunet_kits.inference.jobs import Job, SystemJob

logger = logging.getLogger(__name__)


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``predict``."""
    predict = verbs.add_parser(
        "predict",
        help="predict CTs coarse to fine: several times faster and leaner than nnUNetv2_predict",
        description="Find the kidneys with a coarse model, then run the fine one only there, with the same weights as "
        "nnUNetv2_predict; or predict by a system of several models, such as a paper's. "
        "A model is the folder nnUNet_results/<dataset>/<trainer>__<plans>__<configuration>.",
    )
    predict.add_argument("-i", "--input", type=Path, metavar="PATH", help="a CT, or a folder of CTs")
    predict.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help="folder for the label maps; for one CT also the file to write"
    )
    predict.add_argument("--fine", type=Path, nargs="+", metavar="MODEL", help="model folder; several are averaged")
    predict.add_argument(
        "--coarse",
        type=Path,
        metavar="MODEL",
        help="model folder that finds the kidneys. Default for a cascade: its low-resolution stage; for any other "
        "model none, and it sees the whole CT",
    )
    predict.add_argument("--folds", nargs="+", metavar="FOLD", help="default: every fold that is trained")
    predict.add_argument(
        "--fold-cases",
        nargs="*",
        metavar="FOLD",
        help="predict the cases that these folds validate, or all folds, each by the fold that was not trained on it; "
        "held_out: those that are in no fold, by all. -i is by default the dataset's imagesTr",
    )
    predict.add_argument("--checkpoint", default=FINAL, metavar="FILE", help="default: %(default)s")
    predict.add_argument("--device", choices=("cuda", "cpu", "mps"), help="default: cuda where there is one, else cpu")
    predict.add_argument(
        "--step", type=float, metavar="SHARE", help="window step as a share of the window (default: 0.5)"
    )
    predict.add_argument("--no-mirroring", "--disable_tta", action="store_true", help="no test-time augmentation")
    predict.add_argument(
        *("--mirror-axes",),
        nargs="+",
        choices=("z", "y", "x"),
        metavar="AXIS",
        help="average over flips along these axes of the model, z, y or x (default: those that training mirrored)",
    )
    predict.add_argument("--weighting", choices=("gaussian", "uniform"), help="of a window (default: gaussian)")
    predict.add_argument(
        "--average",
        choices=("logits", "probabilities"),
        help="what is averaged over flips, windows and folds (default: logits)",
    )
    predict.add_argument(
        "--margin-mm", type=float, metavar="MM", help="around what the coarse model found (default: 25)"
    )
    predict.add_argument(
        "--whole-volume", action="store_true", help="run the fine model on the whole CT: nnUNetv2_predict's own result"
    )
    predict.add_argument(
        "--whole-volume-if-empty", action="store_true", help="do so only where the coarse model found no kidney"
    )
    predict.add_argument(
        "--save-probabilities", "--save_probabilities", action="store_true", help="for nnUNetv2_ensemble; large"
    )
    predict.add_argument("-np", type=int, default=1, metavar="N", help="processes, if memory allows (default: 1)")
    predict.add_argument("--overwrite", action="store_true", help="predict again what is there")
    predict.add_argument(
        "--trust", action="store_true", help="run the code that checkpoints and plans ask for; else they are refused"
    )
    several = predict.add_argument_group("a system of several models, in place of --fine")
    several.add_argument("--system", metavar="NAME", help="a shipped system, or a .json file")
    several.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="KEY=MODEL",
        help="model folder for a place in the system; once a key, or again to average several",
    )
    several.add_argument("--no-postprocessing", action="store_true", help="leave the system's last chain out")
    several.add_argument("--list-systems", action="store_true", help="list the shipped systems, nothing else")
    predict.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Predict; 2 where a case failed."""
    if options.list_systems:
        return _list_systems()
    from nnunet_kits.errors import InferenceError

    given = options.input is not None or options.fold_cases is not None
    missing = [flag for flag, there in (("-i", given), ("-o", options.output is not None)) if not there]
    missing += [] if options.fine or options.system else ["--fine or --system"]
    if missing:
        raise InferenceError(f"predict needs {', '.join(missing)}. See nnunet_kits predict --help.")
    if options.no_mirroring and options.mirror_axes:
        raise InferenceError("--no-mirroring and --mirror-axes do not go together. Leave one out.")
    if options.folds and options.fold_cases is not None:
        raise InferenceError("--folds and --fold-cases do not go together: a case says its folds. Leave one out.")
    from nnunet_kits.inference.files import predict_files
    from nnunet_kits.inference.fold_cases import fold_cases

    job = _system_job(options) if options.system else _job(options)
    source = options.input
    if options.fold_cases is not None:
        source = fold_cases(job.folders, options.fold_cases, options.input, by_source=bool(options.system))
    failed = predict_files(job, source, options.output, options.np, options.overwrite)
    for name, reason in failed.items():
        print(f"nnunet_kits: error: {name}: {reason}", file=sys.stderr)
    return Result({"output": options.output, "failed": failed}, 2 if failed else 0)


def _job(options: argparse.Namespace) -> "Job":
    """Coarse to fine."""
    from nnunet_kits.errors import InferenceError
    from nnunet_kits.inference.coarse_to_fine import Settings
    from nnunet_kits.inference.jobs import Job
    from nnunet_kits.inference.roi import RoiSettings
    from nnunet_kits.training.previous_stage import coarse_model_folder

    if options.model or options.no_postprocessing:
        raise InferenceError("--model and --no-postprocessing belong to a system. Name one with --system.")
    settings = Settings(
        step=0.5 if options.step is None else options.step,
        mirror=not options.no_mirroring,
        roi=RoiSettings() if options.margin_mm is None else RoiSettings(margin_mm=options.margin_mm),
        whole_if_empty=options.whole_volume_if_empty,
        whole_volume=options.whole_volume,
        mirror_axes=tuple(options.mirror_axes) if options.mirror_axes else None,
        weighting=options.weighting or "gaussian",
        average=options.average or "logits",
    )
    coarse = options.coarse or coarse_model_folder(options.fine[0])
    return Job(
        fine=tuple(str(folder.resolve()) for folder in options.fine),
        coarse=str(coarse.resolve()) if coarse else None,
        folds=tuple(options.folds) if options.folds else None,
        checkpoint=options.checkpoint,
        device=_device(options),
        settings=settings,
        save_probabilities=options.save_probabilities,
        trust=options.trust,
    )


def _system_job(options: argparse.Namespace) -> "SystemJob":
    """By a system; what the options say of windows holds in all its stages."""
    from dataclasses import replace

    from nnunet_kits.errors import InferenceError
    from nnunet_kits.inference.jobs import SystemJob
    from nnunet_kits.inference.system import load_system

    others = ("fine", "coarse", "margin_mm", "whole_volume", "save_probabilities")
    given = [f"--{name.replace('_', '-')}" for name in others if getattr(options, name) not in (None, False)]
    if given:
        raise InferenceError(f"--system and {', '.join(given)} do not go together: a system says what its stages see.")
    folders: dict[str, list[str]] = {}
    for text in options.model:
        key, equals, folder = text.partition("=")
        if not (key and equals and folder):
            raise InferenceError(f"--model {text}: is KEY=FOLDER, for example coarse=nnUNet_results/.../...")
        folders.setdefault(key, []).append(str(Path(folder).resolve()))
    mirrored = () if options.no_mirroring else tuple(options.mirror_axes) if options.mirror_axes else None
    system = load_system(options.system).with_windows(
        step=None if options.step is None else (options.step,) * 3,
        mirror_axes=mirrored,
        weighting=options.weighting,
        average=options.average,
    )
    return SystemJob(
        system=replace(system, postprocessing=None) if options.no_postprocessing else system,
        models=tuple((key, tuple(found)) for key, found in folders.items()),
        folds=tuple(options.folds) if options.folds else None,
        checkpoint=options.checkpoint,
        device=_device(options),
        whole_if_empty=options.whole_volume_if_empty,
        trust=options.trust,
    )


def _device(options: argparse.Namespace) -> str:
    import torch

    return options.device or ("cuda" if torch.cuda.is_available() else "cpu")


def _list_systems() -> Result:
    """Names, models and summaries of the shipped systems."""
    from nnunet_kits.inference.system import load_system, system_names

    systems = {name: load_system(name) for name in system_names()}
    for name, system in systems.items():
        print(f"{name:20} {' '.join(system.keys):24} {system.summary}")
    return Result({name: {"models": system.keys, "summary": system.summary} for name, system in systems.items()})
