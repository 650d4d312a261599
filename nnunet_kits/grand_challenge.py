"""The entry point of a container on grand-challenge.org: a CT in, its label map and measures out, without network.

``/input/images/ct/NAME.mha`` becomes ``/output/images/SLUG/NAME.mha`` and ``/output/SLUG-measures.json``. Where
``/input/inputs.json`` names another folder of the image, that is taken.

Source: https://grand-challenge.org/documentation/ (runtime environment of algorithms).
"""

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import atomic_path, write_text
from nnunet_kits.cases.cts import find_cts
from nnunet_kits.errors import KitsError
from nnunet_kits.measurement.files import measure_cases
from nnunet_kits.segment.models import MODEL, Models

FOLDER, SLUG, ENDING = "images/ct", "kidney-tumor-cyst-segmentation", ".mha"

logger = logging.getLogger("nnunet_kits")


def run(source: Path, output: Path, models: Models, slug: str = SLUG) -> dict[str, str]:
    """Segment the CTs of a job.

    Args:
        source: ``/input``.
        output: ``/output``.
        models: to predict with.
        slug: of the socket that takes the label map.

    Returns:
        CT -> why it failed.

    Raises:
        KitsError: no CT, or models that are not there or do not fit.
    """
    models.check()
    folder = source / image_folder(source)
    if not any(folder.glob(f"*{ENDING}")):
        raise KitsError(f"{folder}: holds no {ENDING} file. Give the algorithm a CT as its image input.")
    cts = find_cts(folder, endings=(ENDING,))
    from nnunet_kits.inference.files import predict_files

    with tempfile.TemporaryDirectory() as scratch:  # only what the platform knows may lie in its folder
        failed = dict(predict_files(models.job(), cts, Path(scratch)))
        labels = {case: Path(scratch) / f"{case}{ENDING}" for case in cts.sources if case not in failed}
        _, not_measured = measure_cases(labels, {case: cts.sources[case] for case in labels}, Path(scratch))
        failed |= not_measured
        place = output / "images" / slug
        place.mkdir(parents=True, exist_ok=True)
        for file in labels.values():
            with atomic_path(place / file.name) as temporary:
                shutil.copyfile(file, temporary)
        measures = json.loads((Path(scratch) / "measures.json").read_text(encoding="utf-8"))
        write_text(output / f"{slug}-measures.json", json.dumps(measures, indent=2))
    return failed


def image_folder(source: Path) -> str:
    """Where the job's image lies below ``/input``: as ``inputs.json`` says, else in ``images/ct``.

    Raises:
        KitsError: a job of several images.
    """
    path = source / "inputs.json"
    try:
        listed = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    except ValueError as error:
        raise KitsError(f"{path}: is no JSON ({error}).") from error
    folders = sorted({place for one in listed if (place := _place(one)).startswith("images/")})
    if len(folders) > 1:
        raise KitsError(f"{path}: the job has {len(folders)} images ({', '.join(folders)}), but one CT is segmented.")
    return folders[0] if folders else FOLDER


def _place(one: Any) -> str:
    """Relative path of one of a job's inputs."""
    socket = (one.get("socket") or one.get("interface")) if isinstance(one, dict) else None
    return str(socket.get("relative_path", "")) if isinstance(socket, dict) else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job; 0 where every CT is segmented, else 2 with what is wrong on standard error."""
    given = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m nnunet_kits.grand_challenge", description="Segment a job's CT.")
    add = parser.add_argument
    add("--input", type=Path, default=Path("/input"), metavar="DIR", help="default: %(default)s")
    add("--output", type=Path, default=Path("/output"), metavar="DIR", help="default: %(default)s")
    add("--model", default=given("NNUNET_KITS_MODEL") or MODEL, help="default: NNUNET_KITS_MODEL, else renal-net")
    add(
        "--coarse",
        default=given("NNUNET_KITS_COARSE") or None,
        help="default: NNUNET_KITS_COARSE, else as segment has it",
    )
    add("--slug", default=given("NNUNET_KITS_SLUG") or SLUG, help=f"default: NNUNET_KITS_SLUG, else {SLUG}")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    level = logger.level
    logger.setLevel("INFO")
    try:
        failed = run(options.input, options.output, Models((options.model,), coarse=options.coarse), options.slug)
    except (KitsError, OSError) as error:
        failed = {"job": str(error)}
    finally:
        logger.setLevel(level)  # of the Python that called
    for name, reason in failed.items():
        print(f"nnunet_kits: error: {name}: {reason}", file=sys.stderr)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
