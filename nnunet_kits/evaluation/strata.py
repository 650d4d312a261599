"""Cases and lesions by the volume of their tumours, and which of two systems finds the lesions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nnunet_kits.errors import EvaluationError
from nnunet_kits.evaluation.paired import holm

BOUNDS_ML: Mapping[float, str] = {
    4.0: "44 of KiTS23's 489 cases have less tumor than that; a ball of it has a diameter of 2 cm",
    32.0: "half of KiTS23's cases have less tumor than that",
}
"""Bounds between strata of tumour volume, in mL -> why there. Counted in KiTS23's published labels."""

NO_TUMOR = "no tumor"


def checked_bounds(bounds_ml: Sequence[float]) -> list[float]:
    """Bounds in ascending order.

    Raises:
        EvaluationError: one that is not above 0, or twice the same.
    """
    ordered = sorted(bounds_ml)
    if not all(0 < bound < float("inf") for bound in ordered) or len(set(ordered)) < len(ordered):
        raise EvaluationError(
            f"bounds of {', '.join(f'{bound:g}' for bound in bounds_ml)} mL: each must be above 0, none twice."
        )
    return ordered


def stratum_of(volume_ml: float, bounds_ml: Sequence[float]) -> str:
    """``no tumor``, ``under 4 mL``, ``4 to 32 mL`` or ``32 mL and more``, by ascending bounds."""
    if volume_ml <= 0:
        return NO_TUMOR
    lower = 0.0
    for upper in bounds_ml:
        if volume_ml < upper:
            return f"{lower:g} to {upper:g} mL" if lower else f"under {upper:g} mL"
        lower = upper
    return f"{lower:g} mL and more" if lower else "any size"


def strata(bounds_ml: Sequence[float]) -> list[str]:
    """All strata, from no tumour to the largest."""
    return [NO_TUMOR, *(stratum_of(lower, bounds_ml) for lower in (1e-9, *bounds_ml))]


def tumor_ml(scores: Mapping[str, Any]) -> float | None:
    """Volume of all tumours of a case's reference; None where its dataset has no such label."""
    volumes = scores.get("volume_ml", {}).get("tumor")
    return None if volumes is None else float(volumes[1])


def lesion_table(pairs: Iterable[tuple[Any, Any]], bounds_ml: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Which lesions of the references each of two systems detects, by their volume.

    Args:
        pairs: for each case, what :func:`nnunet_kits.evaluation.lesions.detect` found of the first and of the second
            system. Both list the same lesions.
        bounds_ml: between strata, ascending.

    Returns:
        Stratum, and ``all`` -> ``lesions``; ``first``, ``second``: how many each detects; ``only_first``,
        ``only_second``: how many it alone does; ``p_mcnemar``: two-sided and exact, that both detect as many;
        ``p_holm``: corrected for all strata by :func:`nnunet_kits.evaluation.paired.holm`. A stratum without lesions
        is left out. Lesions of one case are taken for independent; those of exactly one volume cannot be told apart,
        and are paired as they are listed.

    Source: McNemar 1947, doi:10.1007/BF02295996.
    """
    from scipy.stats import binomtest

    found: dict[str, list[tuple[bool, bool]]] = {name: [] for name in (*strata(bounds_ml)[1:], "all")}
    for first, second in pairs:
        for ours, theirs in zip(first["reference"], second["reference"], strict=True):
            detected = (bool(ours["detected"]), bool(theirs["detected"]))
            found[stratum_of(ours["volume_ml"], bounds_ml)].append(detected)
            found["all"].append(detected)
    table: dict[str, dict[str, Any]] = {}
    for name, lesions in found.items():
        only = [lesions.count((True, False)), lesions.count((False, True))]
        if lesions:
            table[name] = {
                "lesions": len(lesions),
                "first": sum(first for first, _ in lesions),
                "second": sum(second for _, second in lesions),
                "only_first": only[0],
                "only_second": only[1],
                "p_mcnemar": float(binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0,
            }
    for row, p in zip(table.values(), holm([row["p_mcnemar"] for row in table.values()]), strict=True):
        row["p_holm"] = p
    return table
