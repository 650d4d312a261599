"""Choose postprocessing on cross-validation predictions by the challenge's own metrics."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits import __version__
from nnunet_kits.atomic import write_text
from nnunet_kits.cases.finding import find_label_maps
from nnunet_kits.cases.parallel import run_all, with_progress
from nnunet_kits.cases.records import Journal, file_key
from nnunet_kits.cases.splits import read_splits
from nnunet_kits.errors import PostprocessingError
from nnunet_kits.evaluation.metrics import score_case
from nnunet_kits.evaluation.references import References
from nnunet_kits.geometry import union_box
from nnunet_kits.images import check_same_grid, read_labels
from nnunet_kits.model_folder import fold_folders
from nnunet_kits.postprocessing.choice import choose_chain, score_chains
from nnunet_kits.postprocessing.pipeline import Chain, chain_names, load_chain
from nnunet_kits.postprocessing.voxel import Voxel
from nnunet_kits.releases import Release, release_of

logger = logging.getLogger(__name__)

CHAIN_FILE = "chain.json"
RECORD_FILE = "determined.json"
JOURNAL_FILE = ".determine.partial.jsonl"

NOTHING = Chain("chain", "Leave label maps as they are: no chain raised every fold's mean.", "ours", (), ())


@dataclass(frozen=True)
class Task:
    """A prediction to score after every chain."""

    case: str
    prediction: Path
    reference: Path


def determine_postprocessing(
    predictions: Sequence[Path],
    references: Path,
    year: str,
    output: Path,
    chains: Sequence[str] = (),
    splits: Path | None = None,
    workers: int = 1,
) -> tuple[Chain | None, dict[str, Any]]:
    """Choose the chain that raises the challenge's score most, if it raises it in every fold.

    The score of a case is the mean of Dice and surface Dice over the hierarchical evaluation classes (KiTS19: of Dice).
    Writes ``chain.json``, the chosen chain, and ``determined.json``, every candidate's means by fold, before and after,
    and why it was taken or not. A stopped run goes on where it was.

    Args:
        predictions: validation folders, one a fold; or the folder of a trained model (``fold_*/validation``);
            or with ``splits`` one folder with the predictions of all folds.
        references: a KiTS folder, or a folder of label maps with the same names.
        year: of the labels and tolerances.
        output: folder for the results.
        chains: names or files of the candidates; empty for all shipped ones.
        splits: nnU-Net's ``splits_final.json``.
        workers: processes.

    Returns:
        The chain, None where none helps; and the content of ``determined.json``.

    Raises:
        PostprocessingError: folders that are no folds, a case without reference, an unknown chain.
        ImageError: a prediction and its reference that cannot be read or do not lie on one grid.
    """
    release = release_of(year)
    candidates = [load_chain(name) for name in (chains or chain_names())]
    names = [chain.name for chain in candidates]
    if len(set(names)) < len(names):
        raise PostprocessingError(f"The candidates {', '.join(names)} hold a name twice. Rename a file.")
    folds = find_folds(predictions, splits)
    if len(folds) == 1:
        logger.warning("Only one fold is given, so that one alone must become better. Give all folds.")
    tasks = _tasks(folds, References(references, release.year))
    output.mkdir(parents=True, exist_ok=True)
    scores = _scores(tasks, release, candidates, Journal(output / JOURNAL_FILE), workers)
    cases = {fold: list(files) for fold, files in folds.items()}
    chosen, record = choose_chain(scores, cases, candidates)
    record = {
        "version": __version__,
        "year": release.year,
        "score": f"mean of Dice{' and surface Dice' * bool(release.tolerances_mm)} over the HECs",
        "rule": "the highest mean over all cases among the chains that raise the mean of every fold",
        "folds": cases,
        **record,
        "cases": scores,
    }
    for file, content in ((CHAIN_FILE, (chosen or NOTHING).as_json()), (RECORD_FILE, record)):
        write_text(output / file, json.dumps(content, indent=2) + "\n")
    Journal(output / JOURNAL_FILE).close()
    return chosen, record


def find_folds(folders: Sequence[Path], splits: Path | None = None) -> dict[str, dict[str, Path]]:
    """Fold -> case -> label map.

    Raises:
        PostprocessingError: a folder without label maps, a case in two folds, or splits that do not fit.
    """
    if splits is not None:
        return _split_folds(folders, splits)
    places = []
    for folder in folders:
        validations = [path / "validation" for path in fold_folders(folder).values()]
        places += [place for place in validations if place.is_dir()] or [folder]
    folds: dict[str, dict[str, Path]] = {}
    for place in places:
        name = place.parent.name if place.name == "validation" else place.name
        if name in folds:
            name = str(place)
        folds[name] = find_label_maps(place)
    known: dict[str, str] = {}
    for fold, files in folds.items():
        for case in files:
            if case in known:
                raise PostprocessingError(f"{case}: is in {known[case]} and in {fold}. Each case belongs to one fold.")
            known[case] = fold
    return folds


def _split_folds(folders: Sequence[Path], splits: Path) -> dict[str, dict[str, Path]]:
    """Folds of one folder by nnU-Net's splits."""
    if len(folders) != 1:
        raise PostprocessingError(f"With splits there is one folder of predictions, and {len(folders)} are given.")
    files = find_label_maps(folders[0])
    folds = {f"fold_{n}": split["val"] for n, split in enumerate(read_splits(splits, PostprocessingError))}
    missing = [case for cases in folds.values() for case in cases if case not in files]
    if missing:
        raise PostprocessingError(
            f"{folders[0]}: no prediction of {missing[0]}, which is in {splits}. Predict it first."
        )
    return {fold: {case: files[case] for case in cases} for fold, cases in folds.items()}


def _tasks(folds: Mapping[str, Mapping[str, Path]], references: References) -> dict[str, Task]:
    """Every prediction with its reference."""
    tasks = {}
    for files in folds.values():
        for case, file in files.items():
            reference = references.of(case)
            if reference is None:
                raise PostprocessingError(
                    f"{references.folder}: no reference of {case}. Name the KiTS folder, or nnU-Net's labelsTr or "
                    "gt_segmentations."
                )
            tasks[case] = Task(case, file, reference)
    return tasks


def _scores(
    tasks: Mapping[str, Task],
    release: Release,
    chains: Sequence[Chain],
    journal: Journal,
    workers: int,
) -> dict[str, dict[str, dict[str, float]]]:
    """Case -> candidate -> scores; what a stopped run left is not done again."""
    made_with = [__version__, release.year, [[chain.name, chain.as_json()["steps"]] for chain in chains]]
    keys = {case: json.dumps([made_with, file_key(task.prediction, task.reference)]) for case, task in tasks.items()}
    scores = {case: journal.results[key] for case, key in keys.items() if key in journal.results}
    if scores:
        logger.info(f"{len(scores)} of {len(tasks)} cases were scored before")
    left = {case: task for case, task in tasks.items() if case not in scores}
    outcomes = run_all(partial(score_task, release=release, chains=tuple(chains)), left, workers)
    for case, outcome in with_progress(outcomes, len(tasks), "score", before=len(scores)):
        journal.add(keys[case], outcome)
        scores[case] = outcome
    return {case: scores[case] for case in tasks}


def score_task(task: Task, release: Release, chains: Sequence[Chain]) -> dict[str, dict[str, float]]:
    """Scores of one prediction as it is and after every chain.

    Raises:
        ImageError: naming the case or the file.
    """
    prediction, reference = (read_labels(file, release.labels) for file in (task.prediction, task.reference))
    check_same_grid(task.case, reference.grid, prediction.grid)
    box = union_box(prediction.box, reference.box)
    ours, theirs = prediction.within(box).T, reference.within(box).T  # the axes as the voxels lie in memory
    spacing = reference.grid.spacing_mm[::-1]

    def score(changed: NDArray[np.uint8]) -> dict[str, float]:
        found = score_case(changed, theirs, spacing, release.tolerances_mm, release.labels)
        return {f"{kind}_{name}": found[kind][name] for kind in ("dice", "surface_dice") for name in found[kind]}

    return score_chains(ours, Voxel.of(reference.grid.affine), chains, score)
