"""The report's section that compares its predictions with another system, case by case."""

from collections.abc import Mapping
from typing import Any

from nnunet_kits.evaluation.paired import FEWEST_FOR_BOOTSTRAP
from nnunet_kits.reporting import figures
from nnunet_kits.reporting.charts import Chart, chart
from nnunet_kits.reporting.tables import Row, Table

DRAWN = ("Dice_tumor", "Dice_composite", "Dice_mean")
"""Scores whose differences are drawn over the tumours' volume, as far as there are."""

COLUMNS = ("first", "second", "difference", "95 % interval", "p flips", "p Holm", "better / equal / worse")
TOO_FEW = "too few"

Comparison = Mapping[str, Any]


def explained(found: Comparison) -> str:
    """What is compared, and what is left out."""
    sentences = [
        f"First: {found['first']}. Second: {found['second']}. Differences are second less first, over the "
        f"{_count(len(found['cases']))} that both were scored on. p flips: sign-flip test of the mean difference, "
        "two-sided; p Holm: the same, corrected for all tests of its kind (all cases, by fold, by volume). An interval "
        f"is a bootstrap's, from {FEWEST_FOR_BOOTSTRAP} cases on."
    ]
    return " ".join([*sentences, *(note[0].upper() + note[1:] for note in found["notes"])])


def difference_charts(found: Comparison) -> list[Chart]:
    """Differences of single cases over their tumours' volume."""
    charts = []
    for score in DRAWN:
        points = [(row["tumor_ml"], row[score][1] - row[score][0]) for row in found["cases"].values() if score in row]
        drawn = [(volume, difference) for volume, difference in points if volume]
        if drawn:
            left_out = (
                f"; {len(points) - len(drawn)} cases without tumor are not shown" if len(drawn) < len(points) else ""
            )
            title = f"{score}: second less first, by tumor volume{left_out}"
            charts.append(chart(title, title, figures.differences_by_volume(drawn, found["bounds_ml"])))
    return charts


def charts_explained(found: Comparison) -> str:
    """What the marks in the charts are."""
    marks = (
        "A point is a case; above the line the second system is better. Bars are the means between the dashed bounds."
    )
    return marks if any(row["tumor_ml"] for row in found["cases"].values()) else ""


def score_table(found: Comparison) -> Table:
    """Every score over all cases; some also by fold and by tumour volume, as tables of their own."""
    rows = [Row(name, _cells(row)) for name, row in found["scores"].items()]
    for key, what in (("folds", "{}"), ("sizes", "tumor volume {}")):
        for name, scores in found[key].items():
            rows.append(Row(f"{what.format(name)}: {_count(next(iter(scores.values()))['cases'])}", kind="group"))
            rows += [Row(score, _cells(row)) for score, row in scores.items()]
    return Table("Comparison", ["Score", *COLUMNS], rows)


def lesion_table(found: Comparison) -> Table | None:
    """Which lesions of the references each system detects, by their volume."""
    if not found["lesions"]:
        return None
    keys = ("lesions", "first", "second", "only_first", "only_second")
    rows = [
        Row(name, [*(str(row[key]) for key in keys), _p(row["p_mcnemar"]), _p(row["p_holm"])])
        for name, row in found["lesions"].items()
    ]
    false = found["false_tumors"]
    told = (
        f"false tumors a case: {false['first']:.2f} and {false['second']:.2f}; p flips {_p(false['p_sign_flip'])}; the "
        f"second has fewer in {false['fewer']}, more in {false['more']} cases"
    )
    columns = ("lesions", "first detects", "second detects", "first alone", "second alone", "p McNemar", "p Holm")
    return Table("Lesions", ["Lesion's volume", *columns], [*rows, Row(told, kind="remark")])


def _cells(row: Mapping[str, Any]) -> list[str | float]:
    interval = row["interval_95"]
    return [
        row["first"],
        row["second"],
        f"{row['difference']:+.4f}",
        TOO_FEW if interval is None else "{:+.4f} to {:+.4f}".format(*interval),
        _p(row["p_sign_flip"]),
        _p(row["p_holm"]),
        f"{row['better']} / {row['equal']} / {row['worse']}",
    ]


def _p(p: float) -> str:
    return f"{p:.2g}"


def _count(cases: int) -> str:
    return "1 case" if cases == 1 else f"{cases} cases"
