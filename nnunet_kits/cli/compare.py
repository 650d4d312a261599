"""The verb ``compare``: two systems case by case, by fold and by lesion size."""

import argparse
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nnunet_kits.cli.output import Result
from nnunet_kits.errors import KitsError

logger = logging.getLogger(__name__)

DESCRIPTION = """
Paired differences of two evaluations of the same cases, second less first. Of two folders with an evaluation.csv, the
scores: bootstrap, Wilcoxon's signed ranks and sign flips, corrected for several scores by Holm. Of two runs of recipes,
two trained models that evaluate --model has scored, or two metrics.json also by fold and by the tumors' volume, and
which lesions each detects.
"""
HEADER = ("first", "second", "diff.", "95 % interval", "p boot.", "p Wilc.", "p flips", "p Holm", "better/equal/worse")
WIDTHS = (7, 7, 8, 19, 8, 8, 8, 8, 0)


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``compare``."""
    compare = verbs.add_parser("compare", help="compare two systems case by case", description=DESCRIPTION)
    add = compare.add_argument
    add("first", type=Path, metavar="FIRST", help="folder with an evaluation.csv, a run, a model, or a metrics.json")
    add("second", type=Path, metavar="SECOND", help="another, of the same cases")
    add("--bootstrap", type=int, default=10000, metavar="N", help="resamplings (default: 10000)")
    add("--bounds-ml", type=float, nargs="+", metavar="ML", help="bounds of tumor volume (default: 4 32)")
    add("-o", "--output", type=Path, metavar="FILE", help="write the comparison as JSON")
    add("--csv", type=Path, metavar="FILE", help="write both systems' scores of every case, not of an evaluation.csv")
    compare.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Print the differences, second less first, and write them where asked."""
    import json

    from nnunet_kits.atomic import write_text
    from nnunet_kits.evaluation.scored import is_cross_validation

    if any(is_cross_validation(path) for path in (options.first, options.second)):
        found = _cross_validations(options)
    else:
        found = _evaluations(options)
    if options.output:
        write_text(options.output, json.dumps(found, indent=1))
    return Result(found)


def _evaluations(options: argparse.Namespace) -> dict[str, Any]:
    """Compare what two ``evaluation.csv`` hold."""
    from nnunet_kits.evaluation.compare import compare_systems
    from nnunet_kits.evaluation.paired import warnings_of
    from nnunet_kits.evaluation.scored import FILE

    if options.csv or options.bounds_ml:
        raise KitsError("--csv and --bounds-ml need metrics.json, runs or models, not folders with an evaluation.csv.")
    found = compare_systems(options.first, options.second, options.bootstrap)
    print("\n".join(_table("score", found)))
    print("p Holm: p flips, corrected for all lines.")
    for line in warnings_of(found):
        logger.warning(f"note: {line}")
    files = [path / FILE for path in (options.first, options.second)]
    if all(file.is_file() for file in files):
        logger.info(f"By fold and lesion size: nnunet_kits compare {files[0]} {files[1]}")
    return found


def _cross_validations(options: argparse.Namespace) -> dict[str, Any]:
    """Compare what two ``metrics.json`` hold."""
    from nnunet_kits.evaluation.cross_validation import compare_scored, write_cases
    from nnunet_kits.evaluation.scored import read_scored
    from nnunet_kits.evaluation.strata import BOUNDS_ML

    scored = [read_scored(path) for path in (options.first, options.second)]
    found = compare_scored(scored[0], scored[1], options.bootstrap, options.bounds_ml or tuple(BOUNDS_ML))
    print(f"first: {found['first']}; second: {found['second']}; {len(found['cases'])} cases")
    print("\n".join(["", *_table("score", found["scores"])]))
    for title, key in (("fold", "folds"), ("tumor volume of the case", "sizes")):
        if found[key]:
            print("\n".join(["", *_groups(title, found[key])]))
    if found["lesions"]:
        print("\n".join(["", *_lesions(found["lesions"], found["false_tumors"])]))
    print("\np Holm: p flips, or p McNemar, corrected for all lines of its table.")
    for note in found["notes"]:
        logger.warning(f"note: {note}")
    if options.csv:
        write_cases(options.csv, found)
        logger.info(options.csv)
    return found


def _groups(title: str, groups: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """A table with a line for each score of each group."""
    rows = {f"{name}, {score}": row for name, rows in groups.items() for score, row in rows.items()}
    counts = ", ".join(f"{name} {next(iter(rows.values()))['cases']}" for name, rows in groups.items())
    yield f"by {title} (cases: {counts})"
    yield from _table("", rows)


def _table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each score."""
    from nnunet_kits.evaluation.paired import FEWEST_FOR_BOOTSTRAP

    width = max(15, *(len(name) for name in rows))
    yield f"{title:{width}} " + " ".join(f"{word:>{size}}" for word, size in zip(HEADER, WIDTHS, strict=True))
    for name, row in rows.items():
        few = row["cases"] < FEWEST_FOR_BOOTSTRAP
        cells = (
            f"{row['first']:.4f}",
            f"{row['second']:.4f}",
            f"{row['difference']:+.4f}",
            "too few" if few else "{:+9.4f} {:+9.4f}".format(*row["interval_95"]),
            "too few" if few else f"{row['p_bootstrap']:.2g}",
            *(f"{row[key]:.2g}" for key in ("p_wilcoxon", "p_sign_flip", "p_holm")),
            f"{row['better']}/{row['equal']}/{row['worse']}",
        )
        yield f"{name:{width}} " + " ".join(f"{cell:>{size}}" for cell, size in zip(cells, WIDTHS, strict=True))


def _lesions(lesions: Mapping[str, Mapping[str, Any]], false: Mapping[str, Any]) -> Iterator[str]:
    """Which lesions are detected, by their volume, and the false ones."""
    yield (
        f"{'lesions detected':15} {'lesions':>7} {'first':>7} {'second':>7} {'only first':>10} {'only second':>11} "
        + (f"{'p McNemar':>9} {'p Holm':>8}")
    )
    for name, row in lesions.items():
        yield (
            f"{name:16} {row['lesions']:7} {row['first']:7} {row['second']:7} {row['only_first']:10} "
            f"{row['only_second']:11} {row['p_mcnemar']:9.2g} {row['p_holm']:8.2g}"
        )
    yield (
        f"false tumors a case: {false['first']:.2f} and {false['second']:.2f}; the second has fewer in "
        f"{false['fewer']}, more in {false['more']} of {false['cases']} cases, p flips {false['p_sign_flip']:.2g}"
    )
