"""A trained model as a zip that nnU-Net's own command installs, with a manifest beside its plans."""

import hashlib
import importlib.metadata
import json
import platform
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from nnunet_kits import __version__
from nnunet_kits.atomic import atomic_path
from nnunet_kits.errors import ModelError
from nnunet_kits.model_folder import FINAL, ModelFolder, fold_folders
from nnunet_kits.models.install import MANIFEST
from nnunet_kits.models.places import installed_with
from nnunet_kits.nnunet_files import read_dataset_json

NEEDED = ("plans.json", "dataset.json")
BESIDE = ("dataset_fingerprint.json", "postprocessing.json")
IN_FOLD = ("debug.json", "progress.png", "training_log.json", "validation/summary.json")
SCORES = Path("evaluation") / "metrics.json"
"""Where ``nnunet_kits evaluate --model`` leaves the scores of a model."""

RESEARCH = "Research only. No medical device; not for diagnosis or treatment."


@dataclass(frozen=True)
class About:
    """What the files of a model do not say.

    Attributes:
        title: for people.
        licence: under what it may be used.
        citation: what to cite.
        intended_use: and what not.
        recipe: by which it was trained.
    """

    title: str | None = None
    licence: str | None = None
    citation: str = ""
    intended_use: str = RESEARCH
    recipe: str | None = None


def export_models(
    folders: Sequence[Path], target: Path, about: About, folds: Sequence[str] | None = None, checkpoint: str = FINAL
) -> dict[str, Any]:
    """Write model folders of one dataset into a zip.

    Args:
        folders: ``nnUNet_results/DatasetNNN_Name/<trainer>__<plans>__<configuration>``; a cascade's both stages.
        target: the zip.
        about: for the manifest.
        folds: to export; None for all that have the checkpoint.
        checkpoint: file in the folds' folders.

    Returns:
        Model folder in the zip -> its manifest.

    Raises:
        ModelError: no model folder, a missing file or fold, or a target that is no zip.
    """
    if target.suffix != ".zip":
        raise ModelError(f"{target}: must end in .zip.")
    models = {folder: _model(folder) for folder in folders}
    if len({model.dataset_folder for model in models.values()}) > 1:
        raise ModelError("models of several datasets: export one dataset's at a time.")
    target.parent.mkdir(parents=True, exist_ok=True)
    manifests = {}
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, model in models.items():
            inside = f"{model.dataset_folder.name}/{model.path.name}"
            files = _files(folder, folds, checkpoint)
            for name, path in files.items():
                archive.write(path, f"{inside}/{name}", zipfile.ZIP_STORED if name.endswith(".pth") else None)
            manifest = _manifest(folder, model, files, about, checkpoint)
            archive.writestr(f"{inside}/{MANIFEST}", json.dumps(manifest, indent=2, ensure_ascii=False))
            manifests[inside] = manifest
    return manifests


def _model(folder: Path) -> ModelFolder:
    model = ModelFolder.at(folder)
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if model is None or missing:
        raise ModelError(
            f"{folder}: is no trained model: a folder <trainer>__<plans>__<configuration> with {' and '.join(NEEDED)}."
        )
    return model


def _files(folder: Path, folds: Sequence[str] | None, checkpoint: str) -> dict[str, Path]:
    """Path in the model's folder -> file, of all that is exported."""
    there = {fold: path for fold, path in fold_folders(folder).items() if (path / checkpoint).is_file()}
    wanted = list(there) if folds is None else list(folds)
    missing = [fold for fold in wanted if fold not in there]
    if missing or not wanted:
        raise ModelError(
            f"{folder}: no {checkpoint} in fold {', '.join(missing) or '0 to 4'}; folds with one: "
            f"{', '.join(there) or 'none'}. Choose with --folds or --checkpoint."
        )
    names = [*NEEDED, *BESIDE]
    for fold in wanted:
        names += [f"fold_{fold}/{name}" for name in (checkpoint, *IN_FOLD)]
    names += [path.relative_to(folder).as_posix() for path in folder.glob("crossval_results_folds_*/*.json")]
    return {name: folder / name for name in names if (folder / name).is_file()}


def _manifest(
    folder: Path, model: ModelFolder, files: dict[str, Path], about: About, checkpoint: str
) -> dict[str, Any]:
    dataset = read_dataset_json(folder / "dataset.json", ModelError)
    known = installed_with(folder)
    return {
        "title": about.title or f"{model.dataset_folder.name}, {model.path.name}",
        "licence": about.licence or dataset.get("licence") or dataset.get("license"),
        "citation": about.citation,
        "intended_use": about.intended_use,
        "recipe": about.recipe,
        "dataset": model.dataset_folder.name,
        "trainer": model.trainer,
        "plans": model.plans,
        "configuration": model.configuration,
        "checkpoint": checkpoint,
        "labels": dataset.get("labels"),
        **({key: getattr(known, key) for key in ("orientation", "coarse_labels", "postprocessing")} if known else {}),
        "channels": dataset.get("channel_names"),
        "versions": {
            "nnunet_kits": __version__,
            **{name: _version(name) for name in ("nnunetv2", "torch", "numpy")},
            "python": platform.python_version(),
        },
        "scores": _scores(folder),
        "exported": date.today().isoformat(),
        "files": {name: _sha256(path) for name, path in files.items()},
    }


def _scores(folder: Path) -> dict[str, Any] | None:
    """Means of the model's own evaluation, where ``evaluate --model`` was run."""
    try:
        content = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("mean") if isinstance(content, dict) else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
