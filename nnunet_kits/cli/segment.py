"""The verb ``segment``: from CTs to label maps, measures, DICOM results and a report, by one command."""

import argparse
import sys
from pathlib import Path

from nnunet_kits.cli.choosing import add_backend_option, add_series_options, between_commas, choice_of
from nnunet_kits.cli.numbers import from_zero, whole_from_one
from nnunet_kits.cli.output import Result


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``segment``."""
    segment = verbs.add_parser(
        "segment",
        help="from CTs to label maps, measures, DICOM-SEG and a report, by one command",
        description="Segment the kidneys, tumors and cysts of one CT or of many patients, and write label maps, "
        "measures, pictures, a report, and of DICOM series DICOM-SEG and structured reports. Patients that fail are "
        "named at the end. The same command goes on after a stop. For research, not for diagnosis.",
    )
    add = segment.add_argument
    add(
        "source",
        type=Path,
        nargs="+",
        metavar="INPUT",
        help="a CT, a DICOM folder, a folder of CTs or of patients' DICOM folders, or files",
    )
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results")
    add(
        "--model",
        action="append",
        metavar="MODEL",
        help="name of an installed model, or a model folder; again to average several; of a system KEY=MODEL "
        "(default: renal-net)",
    )
    add("--system", metavar="NAME", help="a system of several models: a shipped one, or a .json file")
    add(
        "--coarse",
        metavar="MODEL",
        help="model that finds the kidneys (default: a cascade's low-resolution stage, else none)",
    )
    add(
        "--coarse-labels",
        type=between_commas,
        default=(),
        metavar="LABEL,...",
        help="labels of the coarse model that are the kidneys",
    )
    add("--folds", nargs="+", metavar="FOLD", help="default: every fold that is trained")
    add("--device", choices=("cuda", "cpu", "mps"), help="default: cuda where there is one, else cpu")
    add_backend_option(segment)
    add("--no-mirroring", action="store_true", help="no test-time augmentation")
    add("--agreement", action="store_true", help="also how far the folds agree, or the mirrored copies")
    add(
        "--segments",
        choices=("lesion", "structure"),
        default="lesion",
        help="one DICOM segment for each lesion, or one for all of a kind and side (default: %(default)s)",
    )
    add("--rtstruct", action="store_true", help="of DICOM series write an RT structure set, too")
    add("--viewer-mb", type=from_zero, metavar="MB", help="megabytes of the report for the slices of each; 0: none")
    add("-np", type=whole_from_one, default=1, metavar="N", help="processes, if memory allows (default: 1)")
    add("--overwrite", action="store_true", help="make again what is there")
    add("--trust", action="store_true", help="run the code that checkpoints and plans ask for; else they are refused")
    add_series_options(segment)
    segment.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Segment; 2 where a patient failed."""
    from nnunet_kits.errors import InferenceError
    from nnunet_kits.segment import Models, segment
    from nnunet_kits.segment.models import MODEL

    if options.system and not options.model:
        raise InferenceError(f"--system {options.system}: name its models, each with --model KEY=MODEL.")
    models = Models(
        fine=tuple(options.model or (MODEL,)),
        system=options.system,
        coarse=options.coarse,
        coarse_labels=options.coarse_labels,
        folds=tuple(options.folds) if options.folds else None,
        device=options.device,
        mirror=not options.no_mirroring,
        agreement=options.agreement,
        trust=options.trust,
        backend=options.backend,
    )
    found = segment(
        options.source,
        options.output,
        models,
        choice=choice_of(options),
        each=options.segments,
        rtstruct=options.rtstruct,
        viewer_mb=options.viewer_mb,
        workers=options.np,
        overwrite=options.overwrite,
    )
    for case, reason in found.failed.items():
        print(f"nnunet_kits: error: {case}: {reason}", file=sys.stderr)
    return Result(found, 2 if found.failed else 0)
