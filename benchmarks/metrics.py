"""KiTS metrics beside the official method, side by side in one run: seconds, peak memory, largest difference.

    python benchmarks/metrics.py PREDICTIONS REFERENCES

Both are folders of ``case_XXXXX/segmentation.nii.gz``; cases in both are scored. The official method is that of the
challenge's repository: SimpleITK, a mask for each class, and DeepMind's ``surface-distance``.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

OFFICIAL = """
import warnings; warnings.simplefilter("ignore")
import numpy as np, SimpleITK as sitk
from surface_distance import compute_surface_dice_at_tolerance, compute_surface_distances
from nnunet_kits.labels import REGIONS, TOLERANCES_MM
def score(prediction, reference):
    images = [sitk.ReadImage(file) for file in (prediction, reference)]
    spacing = images[0].GetSpacing()[::-1]
    p, r = map(sitk.GetArrayFromImage, images)
    found = []
    for name, labels in REGIONS.items():
        a, b = np.zeros(p.shape, bool), np.zeros(r.shape, bool)
        for label in labels:
            a[p == label] = True
            b[r == label] = True
        if not a.any() or not b.any():
            found += [float(not a.any() and not b.any())] * 2
            continue
        found.append(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))
        distances = compute_surface_distances(b, a, spacing)
        found.append(compute_surface_dice_at_tolerance(distances, TOLERANCES_MM["23"][name]))
    return found
"""

OURS = """
from pathlib import Path
from nnunet_kits.evaluation.evaluate import score_files
def score(prediction, reference):
    found = score_files("case", Path(prediction), Path(reference), "23")
    return [found[kind][name] for name in found["dice"] for kind in ("dice", "surface_dice")]
"""

LOOP = """
import json, resource, sys, time
pairs = json.loads(sys.argv[1])
for prediction, reference in pairs:
    start = time.perf_counter()
    scores = score(prediction, reference)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, peak, [float(s) for s in scores]]), flush=True)
"""


class Scorer:
    """One method in a process of its own, asked case by case, so that both methods take turns."""

    def run(self, program: str, pairs: list[list[str]]) -> list[list]:
        """Score pairs: [seconds, peak MB, scores] of each."""
        done = subprocess.run(
            [sys.executable, "-c", program + LOOP, json.dumps(pairs)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    """Score every pair by both methods and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("references", type=Path)
    options = parser.parse_args()
    name = "segmentation.nii.gz"
    cases = sorted(
        folder.name for folder in options.predictions.iterdir() if (options.references / folder.name).is_dir()
    )
    pairs = [[str(options.predictions / case / name), str(options.references / case / name)] for case in cases]
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {datetime.date.today()}\n")
    scorer, warm = Scorer(), min(pairs, key=lambda pair: Path(pair[0]).stat().st_size)
    print("In batch (imports and one small case before), each pair by the official method and then by ours:\n")
    print("| case | official s | ours s | ratio | official MB | ours MB | largest difference |")
    print("|---|---|---|---|---|---|---|", flush=True)
    total = [0.0, 0.0]
    for case, pair in zip(cases, pairs, strict=True):
        (_, official), (_, ours) = (scorer.run(program, [warm, pair]) for program in (OFFICIAL, OURS))
        total = [total[0] + official[0], total[1] + ours[0]]
        difference = max(abs(a - b) for a, b in zip(official[2], ours[2], strict=True))
        print(
            f"| {case} | {official[0]:.2f} | {ours[0]:.3f} | {official[0] / ours[0]:.1f} | {official[1]:.0f} | "
            f"{ours[1]:.0f} | {difference:.1e} |",
            flush=True,
        )
    print(f"| sum | {total[0]:.2f} | {total[1]:.2f} | {total[0] / total[1]:.1f} | | | |\n")
    print("One case in a fresh process, imports included:\n\n| case | official s | ours s | ratio |\n|---|---|---|---|")
    for case, pair in list(zip(cases, pairs, strict=True))[:3]:
        seconds = [fresh(program, pair) for program in (OFFICIAL, OURS)]
        print(f"| {case} | {seconds[0]:.2f} | {seconds[1]:.2f} | {seconds[0] / seconds[1]:.1f} |", flush=True)


def fresh(program: str, pair: list[str]) -> float:
    """Wall seconds of a process that scores one pair."""
    import time

    start = time.perf_counter()
    Scorer().run(program, [pair])
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
