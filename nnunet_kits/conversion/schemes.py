"""How cases are split into folds: by number, as papers had them, or by a file; and which are held out."""

import functools
import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnunet_kits.cases.splits import Split, held_out, listed, read_splits
from nnunet_kits.conversion.cases import case_number
from nnunet_kits.conversion.splits import DEFAULT_FOLDS, assign_folds, fold_of, splits_of
from nnunet_kits.errors import ConversionError

BY_NUMBER, KFOLD = "by_number", "kfold_seed42"
RANGES = re.compile(r"(\d+)-(\d+)(/\d+-\d+){1,2}")
SHARES = re.compile(r"(?P<shares>0?\.\d+/0?\.\d+/0?\.\d+)(:(?P<seed>\d+))?")
ALLOWED = (
    f"{BY_NUMBER}, {KFOLD}, ranges of numbers as 0-239/240-269/270-299 (training, validation, held out), shares as "
    "0.8/0.1/0.1 or 0.8/0.1/0.1:7 with another seed, or a .json file in the form of nnU-Net's splits_final.json"
)
PARTS = 100
"""A share of cases that is held out is so many of every hundred numbers."""


@dataclass(frozen=True)
class Folds:
    """What became of the cases of a dataset.

    Attributes:
        splits: per fold the training and the validation cases, as in ``splits_final.json``.
        held_out: cases that no fold trains or validates.
        moved: case -> (fold of its number, fold it is in), where a fold would have been empty.
        notes: what the user should know.
    """

    splits: list[Split]
    held_out: list[str] = field(default_factory=list)
    moved: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def make_folds(
    training: Sequence[str],
    splits: str = BY_NUMBER,
    hold_out: str | None = None,
    folds: int = DEFAULT_FOLDS,
    left_out: Collection[str] = (),
) -> Folds:
    """Split the training cases of a dataset.

    Cases that a named scheme lists and the dataset lacks are left out of their folds, and noted. A file may list only
    cases that are there or that were left out on purpose.

    Args:
        training: names of the cases with labels.
        splits: see :data:`ALLOWED`.
        hold_out: a share of the cases, or a JSON file with a list of names or numbers, that no fold gets.
        folds: how many, of :data:`BY_NUMBER`.
        left_out: names of cases that were excluded or skipped.

    Raises:
        ConversionError: an unknown scheme, a file that does not fit the cases, or a fold without a case.
    """
    apart = _apart(training, hold_out, left_out)
    rest = [name for name in training if name not in apart]
    if splits == BY_NUMBER:
        assigned, moved = assign_folds(rest, folds)
        found = Folds(splits_of(assigned), apart, moved)
    else:
        planned = scheme(splits)(rest)
        lacking = sorted({name for split in planned for part in split.values() for name in part} - set(training))
        if is_file(splits):
            _refuse_unknown(f"--splits {splits}", lacking, left_out)
        fitting = [{part: sorted(set(names) & set(rest)) for part, names in split.items()} for split in planned]
        for fold, split in enumerate(fitting):
            if empty := [part for part, names in split.items() if not names]:
                what = {"train": "training", "val": "validation"}[empty[0]]
                raise ConversionError(
                    f"--splits {splits}: fold {fold} has no {what} case among those of this dataset, which has "
                    f"{len(training)} with labels. Get the others, or split these in another way."
                )
        found = Folds(fitting, held_out(fitting, training))
        if lacking:
            found.notes.append(f"--splits {splits}: {len(lacking)} of its cases are not here: {listed(lacking)}.")
    if found.held_out:
        found.notes.append(
            f"Held out, in no fold: {listed(found.held_out)}. Do not train fold all, which takes every case."
        )
    return found


def check(splits: str, hold_out: str | None, folds: int) -> None:
    """Refuse what is no scheme, no share and no file, before anything is converted.

    Raises:
        ConversionError: saying what is allowed.
    """
    if splits != BY_NUMBER:
        scheme(splits)
        if folds != DEFAULT_FOLDS:
            raise ConversionError(f"--folds {folds} goes with --splits {BY_NUMBER}; {splits} has its own.")
    if hold_out is not None:
        _share(hold_out)


def is_file(splits: str) -> bool:
    """Whether a scheme is the user's own file."""
    return splits.endswith(".json")


def scheme(splits: str) -> Callable[[Sequence[str]], list[Split]]:
    """What makes the folds of a scheme from the names of the cases; it may list cases that are not among them.

    Raises:
        ConversionError: no such scheme, or a file that is none.
    """
    if splits == KFOLD:
        return lambda _: kfold(range(210), 5, 42)
    if RANGES.fullmatch(splits):
        ranges = [range(int(a), int(b) + 1) for a, b in (part.split("-") for part in splits.split("/"))]
        numbers = [number for part in ranges for number in part]
        if len(set(numbers)) < len(numbers) or not all(ranges):
            raise ConversionError(f"--splits {splits}: the ranges must hold numbers, each of them once.")
        return lambda _: [{"train": _names(ranges[0]), "val": _names(ranges[1])}]
    if (found := SHARES.fullmatch(splits)) is not None:
        shares = [float(share) for share in found["shares"].split("/")]
        if abs(sum(shares) - 1) > 1e-9 or min(shares[:2]) <= 0:
            raise ConversionError(f"--splits {splits}: the shares must be above 0 and make 1 together.")
        return functools.partial(by_shares, shares, int(found["seed"] or 0))
    if not is_file(splits):
        raise ConversionError(f"--splits {splits}: unknown. Allowed: {ALLOWED}.")
    given = read_splits(Path(splits).expanduser(), ConversionError)
    for fold, split in enumerate(given):
        names = [*split["train"], *split["val"]]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConversionError(f"{splits}: fold {fold} has {listed(twice)} twice. A case is trained or validated.")
    return lambda _: given


def kfold(numbers: Sequence[int], folds: int, seed: int) -> list[Split]:
    """Folds as scikit-learn's ``KFold(folds, shuffle=True, random_state=seed)`` makes them of case numbers.

    The cases are shuffled by numpy's RandomState and cut into consecutive parts.

    Source: Zhang's KiTS19 training, ``train/engine.py`` of Yichizz/unet3d_kits19 at db3054a: 5 folds of the case
    numbers 0 to 209, seed 42.
    """
    shuffled = np.array(numbers)
    np.random.RandomState(seed).shuffle(shuffled)
    validated = [{int(number) for number in part} for part in np.array_split(shuffled, folds)]
    return [{"train": _names(set(numbers) - part), "val": _names(part)} for part in validated]


def by_shares(shares: Sequence[float], seed: int, names: Sequence[str]) -> list[Split]:
    """One fold: the first cases of a shuffled list are trained, the next ones validated, the last ones held out.

    Source: Chen and Jin's shares; which cases they drew is not published, so this is a draw like theirs, not theirs.
    """
    shuffled = sorted(names)
    np.random.RandomState(seed).shuffle(shuffled)
    first, second = round(shares[0] * len(names)), round((shares[0] + shares[1]) * len(names))
    return [{"train": sorted(shuffled[:first]), "val": sorted(shuffled[first:second])}]


def _apart(training: Sequence[str], hold_out: str | None, left_out: Collection[str]) -> list[str]:
    """The cases that ``--hold-out`` asks for."""
    if hold_out is None:
        return []
    share = _share(hold_out)
    if isinstance(share, list):
        _refuse_unknown(f"--hold-out {hold_out}", sorted(set(share) - set(training)), left_out)
        found = [name for name in training if name in share]
    else:
        found = [name for name in training if fold_of(case_number(name), PARTS) < share * PARTS]
    if not found or len(found) == len(training):
        raise ConversionError(
            f"--hold-out {hold_out}: that is {'every' if found else 'none'} of {len(training)} training cases. "
            "A share takes cases by their numbers: give another one, or a file."
        )
    return found


def _share(hold_out: str) -> float | list[str]:
    """A share of the cases, or the names in a file."""
    try:
        share = float(hold_out)
    except ValueError:
        return _listed_cases(Path(hold_out).expanduser())
    if not 0.01 <= share <= 0.5 or round(share * PARTS) != round(share * PARTS, 6):
        raise ConversionError(f"--hold-out {hold_out}: a share is 0.01 to 0.5, in hundredths; else name a .json file.")
    return share


def _listed_cases(file: Path) -> list[str]:
    """Names of the cases in a JSON list of names or numbers."""
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        return [_names([entry])[0] if isinstance(entry, int) else f"case_{case_number(entry):05d}" for entry in given]
    except (OSError, ValueError, RecursionError, TypeError, AttributeError) as error:
        raise ConversionError(
            f"--hold-out {file}: is neither a share nor a JSON list of cases, as [3, 12] or "
            f'["case_00003", "case_00012"] ({error}).'
        ) from error


def _refuse_unknown(where: str, names: Sequence[str], left_out: Collection[str]) -> None:
    """Refuse cases of a file that are not there, unless they were left out on purpose."""
    if unknown := [name for name in names if name not in left_out]:
        raise ConversionError(
            f"{where}: {listed(unknown)} is no training case of this dataset. Correct the file, or leave the case out "
            "by --exclude."
        )


def _names(numbers: Collection[int]) -> list[str]:
    return [f"case_{number:05d}" for number in sorted(numbers)]
