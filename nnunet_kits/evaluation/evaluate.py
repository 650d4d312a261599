"""Score a folder of label maps against references: in parallel, resumable, in the challenges' own file format."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_kits import __version__
from nnunet_kits.atomic import write_text
from nnunet_kits.cases.memory import fitting_workers
from nnunet_kits.cases.parallel import run_all, with_progress
from nnunet_kits.cases.records import Journal, file_key
from nnunet_kits.errors import EvaluationError
from nnunet_kits.evaluation.case import Protocol, protocol_of, score_pair
from nnunet_kits.evaluation.lesions import summarise
from nnunet_kits.evaluation.references import Pair, find_pairs
from nnunet_kits.evaluation.tables import row_of, write_csv

logger = logging.getLogger(__name__)

JOURNAL_FILE = ".evaluation.partial.jsonl"
"""Scores of a run that is not finished, in the folder of the results."""
WORTH_A_WORKER = 8
"""Cases that take about as long as starting a process."""

Scores = dict[str, Any]


def default_workers(cases: int) -> int:
    """Processes for a number of cases: one a CPU, but only where that saves more time than starting them takes."""
    return fitting_workers(cases // WORTH_A_WORKER)


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

    Returns:
        The content of ``metrics.json``.

    Raises:
        EvaluationError: a missing prediction or reference, or two files that do not lie on one grid.
        ImageError: an unreadable file, or a value that is no label.
        KitsError: a worker was killed.
    """
    protocol = protocol_of(year, tolerances_mm, hd95)
    pairs = find_pairs(predictions, references, protocol.year, partly, samples)
    folder = output or (predictions.parent if predictions.is_file() else predictions)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(folder / JOURNAL_FILE)
    except OSError as error:
        raise EvaluationError(f"{folder}: cannot be written to ({error.strerror}). Name another with -o.") from error
    scores = _score_all(pairs, protocol, journal, workers)
    metrics = summary(scores, protocol, bootstrap)
    write_csv(folder / "evaluation.csv", scores)
    sampled = {case: found["samples"] for case, found in scores.items() if "samples" in found}
    if sampled:
        write_csv(folder / "evaluation_samples.csv", {case: mean_scores(found) for case, found in sampled.items()})
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))
    journal.close()
    return metrics


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
        "tumors": summarise([case["tumors"] for case in scores.values()]),
    }
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
    for kind in ("dice", "surface_dice", "label_dice", "hd95_mm"):
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
    return json.dumps([__version__, protocol.year, dict(protocol.tolerances_mm), protocol.hd95, files])
