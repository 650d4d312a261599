"""The verb ``predict``: coarse to fine, with any trained nnU-Net model."""

import argparse
import sys
from pathlib import Path

from nnunet_kits.cli.output import Result
from nnunet_kits.model_folder import FINAL


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``predict``."""
    predict = verbs.add_parser(
        "predict",
        help="predict CTs coarse to fine: several times faster and leaner than nnUNetv2_predict",
        description="Find the kidneys with a coarse model, then run the fine one only there, with the same weights as "
        "nnUNetv2_predict. A model is the folder nnUNet_results/<dataset>/<trainer>__<plans>__<configuration>.",
    )
    predict.add_argument("-i", "--input", type=Path, required=True, metavar="PATH", help="a CT, or a folder of CTs")
    predict.add_argument(
        *("-o", "--output"),
        type=Path,
        required=True,
        metavar="PATH",
        help="folder for the label maps; for one CT also the file to write",
    )
    predict.add_argument(
        "--fine", type=Path, nargs="+", required=True, metavar="MODEL", help="model folder; several are averaged"
    )
    predict.add_argument(
        "--coarse",
        type=Path,
        metavar="MODEL",
        help="model folder that finds the kidneys. Default for a cascade: its low-resolution stage; for any other "
        "model none, and it sees the whole CT",
    )
    predict.add_argument("--folds", nargs="+", metavar="FOLD", help="default: every fold that is trained")
    predict.add_argument("--checkpoint", default=FINAL, metavar="FILE", help="default: %(default)s")
    predict.add_argument("--device", choices=("cuda", "cpu", "mps"), help="default: cuda where there is one, else cpu")
    predict.add_argument(
        "--step", type=float, default=0.5, metavar="SHARE", help="window step as a share of the window (default: 0.5)"
    )
    predict.add_argument("--no-mirroring", "--disable_tta", action="store_true", help="no test-time augmentation")
    predict.add_argument(
        "--margin-mm", type=float, default=25.0, metavar="MM", help="around what the coarse model found (default: 25)"
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
    predict.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Predict; 2 where a case failed."""
    import torch

    from nnunet_kits.inference.coarse_to_fine import Settings
    from nnunet_kits.inference.files import Job, predict_files
    from nnunet_kits.inference.roi import RoiSettings
    from nnunet_kits.training.previous_stage import coarse_model_folder

    settings = Settings(
        step=options.step,
        mirror=not options.no_mirroring,
        roi=RoiSettings(margin_mm=options.margin_mm),
        whole_if_empty=options.whole_volume_if_empty,
        whole_volume=options.whole_volume,
    )
    coarse = options.coarse or coarse_model_folder(options.fine[0])
    job = Job(
        fine=tuple(str(folder.resolve()) for folder in options.fine),
        coarse=str(coarse.resolve()) if coarse else None,
        folds=tuple(options.folds) if options.folds else None,
        checkpoint=options.checkpoint,
        device=options.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        settings=settings,
        save_probabilities=options.save_probabilities,
    )
    failed = predict_files(job, options.input, options.output, options.np, options.overwrite)
    for name, reason in failed.items():
        print(f"nnunet_kits: error: {name}: {reason}", file=sys.stderr)
    return Result({"output": options.output, "failed": failed}, 2 if failed else 0)
