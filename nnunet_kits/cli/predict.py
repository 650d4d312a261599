"""The verb ``predict``: coarse to fine, or by a system of several models, with any trained nnU-Net model."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_kits.cli.choosing import add_series_options, choice_of
from nnunet_kits.cli.output import Result
from nnunet_kits.model_folder import FINAL

if TYPE_CHECKING:
    from nnunet_kits.inference.chosen import Chosen
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
    predict.add_argument(
        "--agreement",
        action="store_true",
        help="also how far the folds agree, or the mirrored copies where there is one fold: agreement.csv",
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

    given = options.input is not None or options.fold_cases is not None
    missing = [flag for flag, there in (("-i", given), ("-o", options.output is not None)) if not there]
    missing += [] if options.fine or options.system else ["--fine or --system"]
    if missing:
        raise InferenceError(f"predict needs {', '.join(missing)}. See nnunet_kits predict --help.")
    if options.no_mirroring and options.mirror_axes:
        raise InferenceError("--no-mirroring and --mirror-axes do not go together. Leave one out.")
    if options.folds and options.fold_cases is not None:
        raise InferenceError("--folds and --fold-cases do not go together: a case says its folds. Leave one out.")
    chosen = _choose_models(options)
    has_chain = bool(options.system) or chosen[options.fine[0].resolve()].postprocessing is not None
    if (options.model and not options.system) or (options.no_postprocessing and not has_chain):
        raise InferenceError("--model and --no-postprocessing belong to a system. Name one with --system.")
    found = None
    if options.fold_cases is None:
        from nnunet_kits.cases.cts import find_cts

        found = find_cts(options.input, choice_of(options), _endings(options))
    elif options.series or options.resample_tilt or len(options.input or []) > 1:
        raise InferenceError("--fold-cases takes one folder of CTs, no DICOM. Leave --series and --resample-tilt out.")
    from nnunet_kits.inference.files import predict_files
    from nnunet_kits.inference.fold_cases import fold_cases

    job = _system_job(options) if options.system else _job(options, chosen)
    source: Any = found
    if found is None:
        images = options.input[0] if options.input else None
        source = fold_cases(job.folders, options.fold_cases, images, by_source=bool(options.system))
    failed = predict_files(job, source, options.output, options.np, options.overwrite)
    for name, reason in failed.items():
        print(f"nnunet_kits: error: {name}: {reason}", file=sys.stderr)
    return Result({"output": options.output, "failed": failed}, 2 if failed else 0)


def _endings(options: argparse.Namespace) -> tuple[str, ...]:
    """Of the files that are read: all that hold CTs, and what the first model was trained on."""
    from nnunet_kits.cases.records import read_record
    from nnunet_kits.images import CT_ENDINGS

    folders = options.fine or [Path(text.partition("=")[2]) for text in options.model]
    own = str((read_record(folders[0] / "dataset.json") or {}).get("file_ending", "")) if folders else ""
    return CT_ENDINGS if own in ("", *CT_ENDINGS) else (*CT_ENDINGS, own)


def _choose_models(options: argparse.Namespace) -> dict[Path, "Chosen"]:
    """Every model that is named, its folder resolved; ``--fine`` and ``--coarse`` become folders.

    What their dataset.json tells is checked here, before torch is imported.
    """
    from nnunet_kits.errors import InferenceError
    from nnunet_kits.inference.chosen import check_checkpoint_name, choose_model
    from nnunet_kits.inference.suitability import check_channels, dataset_of, kidney_values
    from nnunet_kits.training.previous_stage import coarse_model_folder

    check_checkpoint_name(options.checkpoint)
    fine = [choose_model(text) for text in options.fine or ()]
    coarse = choose_model(options.coarse) if options.coarse else None
    if options.coarse_labels and coarse is None:
        raise InferenceError("--coarse-labels belongs to a coarse model. Name one with --coarse.")
    options.fine = [one.folder for one in fine] or None
    options.coarse = coarse.folder if coarse else None
    options.coarse_labels = tuple(filter(None, (options.coarse_labels or "").split(",")))
    if coarse and not options.coarse_labels:
        options.coarse_labels = coarse.coarse_labels
    described = {folder: dataset_of(folder) for folder in (*(options.fine or ()), options.coarse) if folder}
    for folder, content in described.items():
        if content is not None:
            check_channels(folder, content)
    if coarse and fine:
        found, finds = described[coarse.folder], described[fine[0].folder]
        if found is not None and finds is not None:
            kidney_values(coarse.folder, found, finds, options.coarse_labels)
    if fine and coarse is None:
        options.coarse = coarse_model_folder(fine[0].folder)
    return {one.folder.resolve(): one for one in (*fine, *([coarse] if coarse else []))}


def _job(options: argparse.Namespace, chosen: dict[Path, "Chosen"]) -> "Job":
    """Coarse to fine."""
    from nnunet_kits.inference.coarse_to_fine import Settings
    from nnunet_kits.inference.jobs import Job
    from nnunet_kits.inference.roi import RoiSettings

    first = chosen[options.fine[0].resolve()]
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
    alone = len(options.fine) == 1 and not options.no_postprocessing
    return Job(
        fine=tuple(str(folder.resolve()) for folder in options.fine),
        coarse=str(options.coarse.resolve()) if options.coarse else None,
        folds=tuple(options.folds) if options.folds else None,
        checkpoint=options.checkpoint,
        device=_device(options),
        settings=settings,
        save_probabilities=options.save_probabilities,
        trust=options.trust,
        coarse_labels=options.coarse_labels,
        checkpoints=tuple((str(folder), one.checkpoint) for folder, one in chosen.items() if one.checkpoint),
        orientations=tuple((str(folder), one.orientation) for folder, one in chosen.items() if one.orientation),
        postprocessing=first.postprocessing if alone else None,
    )


def _system_job(options: argparse.Namespace) -> "SystemJob":
    """By a system; what the options say of windows holds in all its stages."""
    from dataclasses import replace

    from nnunet_kits.errors import InferenceError
    from nnunet_kits.inference.chosen import choose_model
    from nnunet_kits.inference.jobs import SystemJob
    from nnunet_kits.inference.system import load_system

    others = ("fine", "coarse", "coarse_labels", "margin_mm", "whole_volume", "save_probabilities", "agreement")
    given = [f"--{name.replace('_', '-')}" for name in others if getattr(options, name) not in (None, False, ())]
    if given:
        raise InferenceError(f"--system and {', '.join(given)} do not go together: a system says what its stages see.")
    folders: dict[str, list[str]] = {}
    checkpoints: dict[str, str] = {}
    for text in options.model:
        key, equals, folder = text.partition("=")
        if not (key and equals and folder):
            raise InferenceError(f"--model {text}: is KEY=FOLDER, for example coarse=nnUNet_results/.../...")
        model = choose_model(folder)
        if model.orientation is not None:
            raise InferenceError(
                f"--model {text}: sees turned scans, which a system does not make. Use it with --fine."
            )
        folders.setdefault(key, []).append(str(model.folder.resolve()))
        if model.checkpoint is not None:
            checkpoints[folders[key][-1]] = model.checkpoint
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
        checkpoints=tuple(checkpoints.items()),
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
