"""Score a folder of label maps against references: parallel, resumable, in the challenges' own file format."""

import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits import __version__
from nnunet_kits.errors import EvaluationError, KitsError
from nnunet_kits.evaluation.lesions import summarise
from nnunet_kits.evaluation.metrics import score_case
from nnunet_kits.evaluation.references import References
from nnunet_kits.evaluation.tables import interval, write_csv
from nnunet_kits.images import Planes, atomic_path, check_same_grid, read_label_planes
from nnunet_kits.labels import TOLERANCES_MM, Label

LABELS = {
    "19": (Label.KIDNEY, Label.TUMOR),
    "21": (Label.KIDNEY, Label.TUMOR, Label.CYST),
    "23": (Label.KIDNEY, Label.TUMOR, Label.CYST),
}
ENDING = ".nii.gz"
PARTIAL = ".evaluation.partial.jsonl"


@dataclass(frozen=True)
class Pair:
    """A label map to score, and what it is scored against; several references are KiTS21's samples."""

    case: str
    prediction: Path
    reference: Path
    samples: tuple[Path, ...] = ()

    def key(self, year: str, hd95: bool) -> str:
        """Changes when anything that the scores depend on does."""
        files = [self.prediction, self.reference, *self.samples]
        stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return json.dumps([__version__, year, hd95, stats])


def evaluate_folder(
    predictions: Path,
    references: Path,
    year: str,
    output: Path | None = None,
    workers: int = 1,
    hd95: bool = False,
    bootstrap: int = 0,
    partly: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Score every label map of a folder and write ``evaluation.csv`` and ``metrics.json``.

    Args:
        predictions: folder with ``case_XXXXX.nii.gz``.
        references: a flat folder of the same names, or a KiTS folder, whose case folders hold the label maps.
        year: ``19``, ``21`` or ``23``: labels and tolerances.
        output: folder for the results; None for ``predictions``.
        workers: processes.
        hd95: also the 95th percentile of surface distances.
        bootstrap: resamplings for 95 % confidence intervals of the means; 0 for none.
        partly: score what is predicted, though references in a flat folder have no prediction.
        say: takes a line of progress.

    Returns:
        The content of ``metrics.json``.

    Raises:
        EvaluationError: a missing prediction or reference, or a label that the year does not have.
        ImageError: an unreadable file, or two that do not lie on one grid.
    """
    if year not in LABELS:
        raise EvaluationError(f"There is no KiTS evaluation of year {year!r}. Known: {', '.join(LABELS)}.")
    pairs = find_pairs(predictions, References(references, year), partly)
    output = output or predictions
    output.mkdir(parents=True, exist_ok=True)
    scores = _score_all(pairs, year, hd95, output / PARTIAL, workers, say)
    ordered = [scores[pair.case] for pair in pairs]
    metrics = {
        "version": __version__,
        "year": year,
        "tolerances_mm": TOLERANCES_MM[year],
        "mean": mean_scores(ordered),
        "tumors": summarise([score["tumors"] for score in ordered]),
        "cases": {pair.case: score for pair, score in zip(pairs, ordered, strict=True)},
    }
    if bootstrap:
        metrics["interval_95"] = intervals(ordered, bootstrap)
    write_csv(output / "evaluation.csv", {pair.case: score for pair, score in zip(pairs, ordered, strict=True)}, year)
    sampled = {pair.case: score["samples"] for pair, score in zip(pairs, ordered, strict=True) if "samples" in score}
    if sampled:
        write_csv(output / "evaluation_samples.csv", sampled, year)
        metrics["mean_over_samples"] = mean_scores(list(sampled.values()))
    with atomic_path(output / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2))
    (output / PARTIAL).unlink(missing_ok=True)
    return metrics


def find_pairs(predictions: Path, references: References, partly: bool) -> list[Pair]:
    """Every prediction with its reference.

    Raises:
        EvaluationError: nothing to score, or one without the other.
    """
    files = sorted(predictions.glob(f"*{ENDING}")) if predictions.is_dir() else []
    if not files:
        raise EvaluationError(f"{predictions}: holds no {ENDING} file. Name the folder with the predicted label maps.")
    names = [file.name.removesuffix(ENDING) for file in files]
    missing = [] if partly else references.not_among(names)
    if missing:
        raise EvaluationError(
            f"{predictions}: no prediction of {_few(missing)}, of which {references.folder} has a reference. Predict "
            "them, or pass --partly to score the others."
        )
    without = [name for name in names if references.of(name) is None]
    if without:
        raise EvaluationError(
            f"{references.folder}: no reference of {_few(without)}, of which there is a prediction. Name the KiTS "
            "folder or a folder of label maps with these names, or move the predictions away."
        )
    return [Pair(n, f, references.of(n) or f, references.samples(n)) for n, f in zip(names, files, strict=True)]


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _score_all(
    pairs: Sequence[Pair], year: str, hd95: bool, partial_file: Path, workers: int, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Scores of every case; those that a stopped run left behind are taken from its file."""
    done = _left_behind(partial_file)
    keys = {pair.case: pair.key(year, hd95) for pair in pairs}
    scores = {pair.case: done[keys[pair.case]] for pair in pairs if keys[pair.case] in done}
    left = [pair for pair in pairs if pair.case not in scores]
    if scores:
        say(f"{len(scores)} of {len(pairs)} cases were scored before")
    score = partial(score_pair, year=year, hd95=hd95)
    with partial_file.open("a") as file:

        def keep(pair: Pair, found: dict[str, Any]) -> None:
            scores[pair.case] = found
            file.write(json.dumps({"key": keys[pair.case], "scores": found}) + "\n")
            file.flush()
            say(f"{len(scores)} of {len(pairs)}: {pair.case}")

        if workers <= 1 or len(left) < 2:
            for pair in left:
                keep(pair, score(pair))
            return scores
        spawn = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(min(workers, len(left)), spawn) as pool:
                for pair, found in zip(left, pool.map(score, left), strict=True):
                    keep(pair, found)
        except BrokenProcessPool as error:
            raise EvaluationError(
                "A worker died, most likely killed for want of memory. Run the same command again with -np 1: "
                "what is scored is kept."
            ) from error
    return scores


def _left_behind(partial_file: Path) -> dict[str, dict[str, Any]]:
    """Key -> scores of a run that was stopped; a last line cut short is left out."""
    found = {}
    for line in partial_file.read_text().splitlines() if partial_file.is_file() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        found[entry["key"]] = entry["scores"]
    return found


def score_pair(pair: Pair, year: str, hd95: bool = False) -> dict[str, Any]:
    """Scores of one case; with samples, their mean under ``samples``.

    Raises:
        KitsError: naming the case.
    """
    try:
        scores = score_files(pair.case, pair.prediction, pair.reference, year, hd95)
        if pair.samples:
            sampled = [score_files(pair.case, pair.prediction, sample, year) for sample in pair.samples]
            scores["samples"] = mean_scores(sampled)
    except KitsError as error:
        raise error if pair.case in str(error) else type(error)(f"{pair.case}: {error}") from error
    return scores


def score_files(case: str, prediction: Path, reference: Path, year: str, hd95: bool = False) -> dict[str, Any]:
    """Scores of one label map against one reference. Spacing and axes are the reference's, reversed as SimpleITK's.

    Raises:
        ImageError: an unreadable file, or two that do not lie on one grid.
        EvaluationError: a label that the year does not have.
    """
    read = [read_label_planes(file) for file in (prediction, reference)]
    check_same_grid(case, read[1].grid, read[0].grid)
    for file, planes in zip((prediction, reference), read, strict=True):
        _check_labels(case, file, planes, year)
    start = min(planes.start for planes in read)
    stop = max(planes.start + planes.array.shape[2] for planes in read)
    ours, theirs = (_placed(planes, start, stop) for planes in read)
    spacing = read[1].grid.spacing_mm[::-1]
    return score_case(ours, theirs, spacing, TOLERANCES_MM[year], LABELS[year], hd95)


def _placed(planes: Planes, start: int, stop: int) -> NDArray[np.uint8]:
    """Kept planes within a common range, (third, second, first axis) of the file."""
    turned = planes.array.T
    if (planes.start, planes.start + len(turned)) == (start, stop):
        return turned
    placed = np.zeros((stop - start, *turned.shape[1:]), np.uint8)
    placed[planes.start - start : planes.start - start + len(turned)] = turned
    return placed


def _check_labels(case: str, file: Path, planes: Planes, year: str) -> None:
    known = [0, *(int(label) for label in LABELS[year])]
    if not planes.array.size or int(planes.array.max()) <= max(known):
        return  # labels are consecutive
    values = np.flatnonzero(np.bincount(planes.array.ravel(order="K"), minlength=256))
    foreign = [int(value) for value in values if value not in known]
    raise EvaluationError(
        f"{case}: {file} holds label {', '.join(map(str, foreign))}, but KiTS{year} has {', '.join(map(str, known))}. "
        "Choose the year of the labels, or map them first."
    )


def mean_scores(scores: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over cases of every HEC's and every label's score."""
    return {
        kind: {name: float(np.mean([score[kind][name] for score in scores])) for name in scores[0][kind]}
        for kind in ("dice", "surface_dice", "label_dice")
        if kind in scores[0]
    }


def intervals(scores: Sequence[dict[str, Any]], resamplings: int) -> dict[str, dict[str, list[float]]]:
    """95 % bootstrap intervals of the means, over cases."""
    return {
        kind: {name: interval([score[kind][name] for score in scores], resamplings) for name in scores[0][kind]}
        for kind in ("dice", "surface_dice")
    }
