"""The verb ``predict``: coarse to fine, or by a system of several models, with any trained nnU-Net model."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_kits.cli.choosing import add_backend_option, add_series_options, between_commas, choice_of
from nnunet_kits.cli.numbers import from_zero, whole_from_one
from nnunet_kits.cli.output import Result
from nnunet_kits.model_folder import FINAL

if TYPE_CHECKING:
    from nnunet_kits.inference.chosen import ChosenModels
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
    predict.add_argument(
        *("-i", "--input"),
        type=Path,
        nargs="+",
        metavar="PATH",
        help="a CT, a folder of CTs, a DICOM folder, a folder of patients' DICOM folders, or files",
    )
    predict.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help="folder for the label maps; for one CT also the file to write"
    )
    predict.add_argument(
        "--fine",
        nargs="+",
        metavar="MODEL",
        help="model folder, or the name of an installed model; several are averaged. "
        "MODEL:checkpoint_best.pth takes another checkpoint of this model",
    )
    predict.add_argument(
        "--coarse",
        metavar="MODEL",
        help="model that finds the kidneys. Default for a cascade: its low-resolution stage; for any other "
        "model none, and it sees the whole CT",
    )
    predict.add_argument(
        "--coarse-labels",
        type=between_commas,
        default=(),
        metavar="LABEL,...",
        help="labels of the coarse model that are the kidneys and what grows in them, for a model of other organs too",
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
    add_backend_option(predict)
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
        "--margin-mm", type=from_zero, metavar="MM", help="around what the coarse model found (default: 25)"
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
    predict.add_argument(
        "--agreement",
        action="store_true",
        help="also how far the folds agree, or the mirrored copies where there is one fold: agreement.csv",
    )
    predict.add_argument(
        "-np", type=whole_from_one, default=1, metavar="N", help="processes, if memory allows (default: 1)"
    )
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
    several.add_argument(
        "--no-postprocessing", action="store_true", help="leave the system's, or the installed model's, chain out"
    )
    several.add_argument("--list-systems", action="store_true", help="list the shipped systems, nothing else")
    add_series_options(predict)
    predict.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Predict; 2 where a case failed."""
    if options.list_systems:
        return _list_systems()
    from nnunet_kits.errors import InferenceError
    from nnunet_kits.inference.backends import check_backend
    from nnunet_kits.inference.chosen import check_checkpoint_name, choose_models

    given = options.input is not None or options.fold_cases is not None
    missing = [flag for flag, there in (("-i", given), ("-o", options.output is not None)) if not there]
    missing += [] if options.fine or options.system else ["--fine or --system"]
    if missing:
        raise InferenceError(f"predict needs {', '.join(missing)}. See nnunet_kits predict --help.")
    if options.no_mirroring and options.mirror_axes:
        raise InferenceError("--no-mirroring and --mirror-axes do not go together. Leave one out.")
    if options.folds and options.fold_cases is not None:
        raise InferenceError("--folds and --fold-cases do not go together: a case says its folds. Leave one out.")
    if options.backend != "torch":
        options.device = options.device or "cpu"
        check_backend(options.backend, options.device)
    check_checkpoint_name(options.checkpoint)
    models = choose_models(options.fine or (), options.coarse, options.coarse_labels)
    has_chain = bool(options.system) or models.fine[0].postprocessing is not None
    if (options.model and not options.system) or (options.no_postprocessing and not has_chain):
        raise InferenceError("--model and --no-postprocessing belong to a system. Name one with --system.")
    found = None
    if options.fold_cases is None:
        from nnunet_kits.cases.cts import find_cts

        found = find_cts(options.input, choice_of(options), _endings(options, models))
    elif options.series or options.resample_tilt or len(options.input or []) > 1:
        raise InferenceError("--fold-cases takes one folder of CTs, no DICOM. Leave --series and --resample-tilt out.")
    from nnunet_kits.inference.files import predict_files
    from nnunet_kits.inference.fold_cases import fold_cases

    job = _system_job(options) if options.system else _job(options, models)
    source: Any = found
    if found is None:
        images = options.input[0] if options.input else None
        source = fold_cases(job.folders, options.fold_cases, images, by_source=bool(options.system))
    failed = predict_files(job, source, options.output, options.np, options.overwrite)
    for name, reason in failed.items():
        print(f"nnunet_kits: error: {name}: {reason}", file=sys.stderr)
    return Result({"output": options.output, "failed": failed}, 2 if failed else 0)


def _endings(options: argparse.Namespace, models: "ChosenModels") -> tuple[str, ...]:
    """Of the files that are read: all that hold CTs, and what the first model was trained on."""
    from nnunet_kits.cases.records import read_record
    from nnunet_kits.images import CT_ENDINGS

    folders = [one.folder for one in models.fine] or [Path(text.partition("=")[2]) for text in options.model]
    own = str((read_record(folders[0] / "dataset.json") or {}).get("file_ending", "")) if folders else ""
    return CT_ENDINGS if own in ("", *CT_ENDINGS) else (*CT_ENDINGS, own)


def _job(options: argparse.Namespace, models: "ChosenModels") -> "Job":
    """Coarse to fine."""
    from nnunet_kits.inference.coarse_to_fine import Settings
    from nnunet_kits.inference.jobs import Job
    from nnunet_kits.inference.roi import RoiSettings

    settings = Settings(
        step=0.5 if options.step is None else options.step,
        mirror=not options.no_mirroring,
        roi=RoiSettings() if options.margin_mm is None else RoiSettings(margin_mm=options.margin_mm),
        whole_if_empty=options.whole_volume_if_empty,
        whole_volume=options.whole_volume,
        mirror_axes=tuple(options.mirror_axes) if options.mirror_axes else None,
        weighting=options.weighting or "gaussian",
        average=options.average or "logits",
        agreement=options.agreement,
    )
    chain = {"postprocessing": None} if options.no_postprocessing else {}
    return Job.of(
        models,
        folds=tuple(options.folds) if options.folds else None,
        checkpoint=options.checkpoint,
        device=_device(options),
        backend=options.backend,
        settings=settings,
        save_probabilities=options.save_probabilities,
        trust=options.trust,
        **chain,
    )


def _system_job(options: argparse.Namespace) -> "SystemJob":
    """By a system; what the options say of windows holds in all its stages."""
    from dataclasses import replace

    from nnunet_kits.errors import InferenceError
    from nnunet_kits.inference.chosen import choose_members
    from nnunet_kits.inference.jobs import SystemJob
    from nnunet_kits.inference.system import load_system

    others = ("fine", "coarse", "coarse_labels", "margin_mm", "whole_volume", "save_probabilities", "agreement")
    given = [f"--{name.replace('_', '-')}" for name in others if getattr(options, name) not in (None, False, ())]
    if given:
        raise InferenceError(f"--system and {', '.join(given)} do not go together: a system says what its stages see.")
    members = choose_members(options.model)
    mirrored = () if options.no_mirroring else tuple(options.mirror_axes) if options.mirror_axes else None
    system = load_system(options.system).with_windows(
        step=None if options.step is None else (options.step,) * 3,
        mirror_axes=mirrored,
        weighting=options.weighting,
        average=options.average,
    )
    return SystemJob.of(
        replace(system, postprocessing=None) if options.no_postprocessing else system,
        members,
        folds=tuple(options.folds) if options.folds else None,
        checkpoint=options.checkpoint,
        device=_device(options),
        backend=options.backend,
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
