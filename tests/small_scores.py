"""A ``metrics.json`` as ``evaluate`` writes it, of made-up scores."""

import json

import numpy as np

REGIONS = ("kidney_and_mass", "mass", "tumor")


def case(dice, volumes=(10.0,), detected=(), false=0, surface=None, kidney=200.0):
    """Scores of one case: Dice of the three classes, volumes of its tumours, places of those that are detected."""
    tumors = [
        {"volume_ml": ml, "diameter_cm": 1.0, "detected": i in detected, "overlap": 0.5} for i, ml in enumerate(volumes)
    ]
    return {
        "dice": dict(zip(REGIONS, dice, strict=True)),
        "surface_dice": dict(zip(REGIONS, dice if surface is None else surface, strict=True)),
        "label_dice": {},
        "volume_ml": {"kidney": [1.0, kidney], "tumor": [1.0, sum(volumes)]},
        "tumors": {"reference": tumors, "false_positives": [0.1] * false},
    }


def write_metrics(folder, cases, folds=None, **changes):
    """The file; returns it."""
    content = {"year": "23", "tolerances_mm": {"kidney_and_mass": 1.0}, "cases": cases, **changes}
    if folds is not None:
        content["folds"] = folds
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder / "metrics.json"


def many(count=40, better=0.0, seed=0, folds=4):
    """(cases, folds): tumours of 1 to 100 mL; with ``better`` the tumour Dice is so much higher, give or take 0.05."""
    same, own = np.random.default_rng(0), np.random.default_rng(seed)
    cases = {}
    for number in range(count):
        volumes = [float(ml) for ml in sorted(10 ** same.uniform(0, 2, 1 + number % 2), reverse=True)]
        dice = same.uniform(0.4, 0.8, 3)
        dice[2] += better + own.uniform(-0.05, 0.05)
        found = [place for place, ml in enumerate(volumes) if ml > 4 or own.random() < 0.5 + 5 * better]
        cases[f"case_{number:05d}"] = case(dice.tolist(), volumes, found, int(own.integers(0, 2)))
    names = list(cases)
    return cases, {f"fold_{fold}": names[fold::folds] for fold in range(folds)}
