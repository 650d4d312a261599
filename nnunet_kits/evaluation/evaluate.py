"""Score a folder of label maps against references: in parallel, resumable, in the challenges' own file format."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nnunet_kits import __version__
from nnunet_kits.atomic import write_text
from nnunet_kits.cases.memory import fitting_workers
from nnunet_kits.cases.parallel import run_all, with_progress
from nnunet_kits.cases.records import Journal, file_key
from nnunet_kits.errors import EvaluationError
from nnunet_kits.evaluation.case import Protocol, protocol_of, score_pair
from nnunet_kits.evaluation.dataset_labels import dataset_labels
from nnunet_kits.evaluation.lesions import summarise
from nnunet_kits.evaluation.paper_tables import FILE as TABLES_FILE
from nnunet_kits.evaluation.paper_tables import tables_of, write_tables
from nnunet_kits.evaluation.references import Pair, find_pairs
from nnunet_kits.evaluation.tables import row_of, write_csv
from nnunet_kits.evaluation.validation import find_validation

logger = logging.getLogger(__name__)

JOURNAL_FILE = ".evaluation.partial.jsonl"
"""Scores of a run that is not finished, in the folder of the results."""
WORTH_A_WORKER = 8
"""Cases that take about as long as starting a process."""

KINDS = (
    *("dice", "surface_dice", "label_dice", "hd95_mm"),
    *("label_surface_dice", "precision", "recall", "slice_dice"),
)
"""Scores that have a mean over cases."""

Scores = dict[str, Any]


def default_workers(cases: int) -> int:
    """Processes for a number of cases: one a CPU, but only where that saves more time than starting them takes."""
    return fitting_workers(cases // WORTH_A_WORKER)


def results_folder(output: Path | None, predictions: Path | None, model: Path | None = None) -> Path:
    """Where results go: the folder that is asked for, that of the predictions, or one of the model's own."""
    if output is None and predictions is None and model is not None:
        return model / "evaluation"
    folder = output or predictions or Path()
    return folder.parent if output is None and folder.is_file() else folder


def evaluate_folder(
    predictions: Path,
    references: Path,
    year: str,
    output: Path | None = None,
    workers: int | None = 1,
    hd95: bool = False,
    bootstrap: int = 0,
    partly: bool = False,
    samples: bool = True,
    tolerances_mm: Sequence[float] | None = None,
    tables: bool = False,
) -> dict[str, Any]:
    """Score the label maps of a folder and write ``evaluation.csv`` and ``metrics.json``.

    A run that was stopped goes on where it was. With more than one worker, a script that calls this needs
    ``if __name__ == "__main__":``.

    Args:
        predictions: folder of ``case_XXXXX.nii.gz``, or a KiTS folder; or one file, then ``references`` is one too.
        references: likewise.
        year: of the labels and tolerances.
        output: folder for the results; None for that of the predictions.
        workers: processes; None for as many as are worth it.
        hd95: also the 95th percentile of the surface distances.
        bootstrap: resamplings for 95 % confidence intervals of the means; 0 for none.
        partly: leave out references without a prediction.
        samples: also score against KiTS21's sampled segmentations where the references have them.
        tolerances_mm: others than the year's, in the order of its classes.
        tables: also surface Dice of each label, precision, recall and Dice a slice, in ``tables.csv``.

    Returns:
        The content of ``metrics.json``.

    Raises:
        EvaluationError: a missing prediction or reference, or two files that do not lie on one grid.
        ImageError: an unreadable file, or a value that is no label.
        KitsError: a worker was killed.
    """
    protocol = replace(protocol_of(year, tolerances_mm, hd95), tables=tables)
    pairs = find_pairs(predictions, references, protocol.year, partly, samples)
    folder = results_folder(output, predictions)
    scores, journal = _score_into(folder, pairs, protocol, workers)
    metrics = summary(scores, protocol, bootstrap)
    if tables:
        metrics["tables"] = tables_of({"cases": list(scores.values())}, ())
    _write(folder, scores, metrics)
    sampled = {case: found["samples"] for case, found in scores.items() if "samples" in found}
    if sampled:
        write_csv(folder / "evaluation_samples.csv", {case: mean_scores(found) for case, found in sampled.items()})
    journal.close()
    return metrics


def evaluate_model(
    model: Path,
    predictions: Path | None = None,
    references: Path | None = None,
    year: str | None = None,
    output: Path | None = None,
    workers: int | None = 1,
    hd95: bool = False,
    bootstrap: int = 0,
    partly: bool = False,
    tolerances_mm: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Score a trained model fold by fold, and write ``tables.csv`` beside ``evaluation.csv`` and ``metrics.json``.

    A run that was stopped goes on where it was.

    Args:
        model: folder of any nnU-Net trainer's model.
        predictions: label maps of its folds' cases, or of the held-out ones; None for the folds' own validation.
        references: label maps; None for the dataset's own, found by nnU-Net's variables.
        year: of the tolerances; None for the one that the model's dataset.json names.
        output: folder for the results; None for that of the predictions, or ``evaluation`` in the model's folder.
        workers: processes; None for as many as are worth it.
        hd95: also the 95th percentile of the surface distances.
        bootstrap: resamplings for 95 % confidence intervals of the means; 0 for none.
        partly: score folds of which cases are missing.
        tolerances_mm: others than the year's, in the order of its classes.

    Returns:
        The content of ``metrics.json``: as that of :func:`evaluate_folder` over all cases of all folds, with
        ``model``, ``folds`` (fold -> its cases), ``notes`` and ``tables``.

    Raises:
        EvaluationError: as :func:`~nnunet_kits.evaluation.validation.find_validation`; or no year.
        ImageError: an unreadable file, or a value that is no label.
        KitsError: a worker was killed.
    """
    found = find_validation(model, predictions, references, partly)
    for note in found.notes:
        logger.warning(f"note: {note}")
    year = year or str(found.dataset_json.get("release", "")).removeprefix("KiTS")
    if not year:
        raise EvaluationError(f"{model}: its dataset.json names no KiTS year. Say whose tolerances to take by --year.")
    labels = replace(dataset_labels(found.dataset_json, model / "dataset.json"), truth_of_year=found.truth_of_year)
    protocol = replace(protocol_of(year, tolerances_mm, hd95), tables=True, dataset=labels)
    files = [(group, case, file) for group, members in found.groups.items() for case, file in members.items()]
    names = [case for _, case, _ in files]
    names = [case if names.count(case) == 1 else f"{group}/{case}" for group, case, _ in files]
    pairs = [Pair(name, file, found.references[case]) for name, (_, case, file) in zip(names, files, strict=True)]
    folder = results_folder(output, predictions, model)
    scores, journal = _score_into(folder, pairs, protocol, workers)
    members = {group: [n for n, (g, _, _) in zip(names, files, strict=True) if g == group] for group in found.groups}
    groups = {group: [scores[name] for name in cases] for group, cases in members.items()}
    metrics = summary(scores, protocol, bootstrap)
    metrics |= {"model": str(model.resolve()), "folds": members, "notes": found.notes}
    metrics["tables"] = tables_of(groups, found.folds)
    _write(folder, scores, metrics)
    journal.close()
    return metrics


def _score_into(
    folder: Path, pairs: Sequence[Pair], protocol: Protocol, workers: int | None
) -> tuple[dict[str, Scores], Journal]:
    """Score the pairs; what is done is kept in the journal of the folder for the results."""
    for pair in pairs:
        if any(sign in pair.case for sign in ',"\r\n'):
            raise EvaluationError(
                f"{pair.prediction}: the case's name {pair.case!r} holds a sign that the challenges' evaluation.csv "
                "has no place for. Rename the file and its reference, without comma, quote and line break."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(folder / JOURNAL_FILE)
    except OSError as error:
        raise EvaluationError(f"{folder}: cannot be written to ({error.strerror}). Name another with -o.") from error
    return _score_all(pairs, protocol, journal, workers), journal


def _write(folder: Path, scores: Mapping[str, Scores], metrics: Mapping[str, Any]) -> None:
    """The files of the results; metrics.json last."""
    write_csv(folder / "evaluation.csv", scores)
    if "tables" in metrics:
        write_tables(folder / TABLES_FILE, metrics["tables"])
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))


def summary(scores: Mapping[str, Scores], protocol: Protocol, bootstrap: int = 0) -> dict[str, Any]:
    """The content of ``metrics.json``: what was scored how, means over cases, tumours, and every case.

    Args:
        scores: case -> scores.
        protocol: what they were scored by.
        bootstrap: resamplings for confidence intervals; 0 for none.
    """
    found: dict[str, Any] = {
        "version": __version__,
        "year": protocol.year,
        "tolerances_mm": dict(protocol.tolerances_mm),
        "mean": mean_scores(list(scores.values())),
    }
    if all("tumors" in case for case in scores.values()):
        found["tumors"] = summarise([case["tumors"] for case in scores.values()])
    if bootstrap:
        from nnunet_kits.evaluation.statistics import intervals_95

        found["interval_95"] = intervals_95([row_of(case) for case in scores.values()], bootstrap)
    if any("samples" in case for case in scores.values()):
        found["mean_over_samples"] = mean_scores([mean_scores(case["samples"]) for case in scores.values()])
    found["cases"] = dict(scores)
    return found


def mean_scores(scores: Sequence[Scores]) -> dict[str, dict[str, float | None]]:
    """Mean of every class's and every label's score; of the distances over the cases that have one."""
    means: dict[str, dict[str, float | None]] = {}
    for kind in KINDS:
        if kind in scores[0]:
            means[kind] = {}
            for name in scores[0][kind]:
                values = [case[kind][name] for case in scores if case[kind][name] is not None]
                means[kind][name] = sum(values) / len(values) if values else None
    return means


def _score_all(pairs: Sequence[Pair], protocol: Protocol, journal: Journal, workers: int | None) -> dict[str, Scores]:
    """Case -> scores, in the order of the pairs; those that a stopped run left behind are taken from its journal."""
    keys = {pair.case: _key(pair, protocol) for pair in pairs}
    scores: dict[str, Scores] = {case: journal.results[key] for case, key in keys.items() if key in journal.results}
    if scores:
        logger.info(f"{len(scores)} of {len(pairs)} cases were scored before")
    left = {pair.case: (pair, protocol) for pair in pairs if pair.case not in scores}
    outcomes = run_all(score_pair, left, default_workers(len(left)) if workers is None else workers)
    for case, found in with_progress(outcomes, len(pairs), "evaluate", before=len(scores)):
        scores[case] = found
        journal.add(keys[case], found)
    return {pair.case: scores[pair.case] for pair in pairs}


def _key(pair: Pair, protocol: Protocol) -> str:
    """Changes when anything does that a case's scores depend on."""
    files = file_key(pair.prediction, pair.reference, *pair.samples)
    how = [__version__, protocol.year, dict(protocol.tolerances_mm), protocol.hd95, protocol.tables]
    return json.dumps([*how, protocol.dataset and asdict(protocol.dataset), files])
