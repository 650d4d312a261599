"""The challenge's numbers beside its own method: seconds, peak memory and largest difference, side by side in one run.

    python benchmarks/metrics.py PREDICTIONS REFERENCES --year 23

Both folders are flat or KiTS folders. The challenge's method is that of ``kits23/evaluation/metrics.py``: SimpleITK
reads both files, and the package ``surface-distance`` measures each class. First every case is scored by both in turn
in one process, then by both in turn in a process of its own each, ours by the command ``nnunet_kits evaluate``.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from side_by_side import lines_of, machine

from nnunet_kits.evaluation.references import Pair, find_pairs

ONE_THREAD = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}

CHALLENGE = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
import SimpleITK
from surface_distance import compute_surface_dice_at_tolerance, compute_surface_distances
from nnunet_kits.labels import REGIONS
from nnunet_kits.releases import RELEASES

def challenge(prediction, reference, year):
    images = [SimpleITK.ReadImage(path) for path in (prediction, reference)]
    spacing = tuple(images[0].GetSpacing()[::-1])
    arrays = [SimpleITK.GetArrayFromImage(image) for image in images]
    scores = []
    for name, members in REGIONS.items():
        masks = []
        for array in arrays:
            mask = np.zeros(array.shape, dtype=bool)
            for label in members:
                mask[array == int(label)] = True
            masks.append(mask)
        p, r = masks
        sizes = np.count_nonzero(p), np.count_nonzero(r)
        if not all(sizes):
            scores += [float(sizes == (0, 0))] * 2
            continue
        scores.append(2 * np.count_nonzero(p & r) / sum(sizes))
        distances = compute_surface_distances(r, p, spacing)
        scores.append(float(compute_surface_dice_at_tolerance(distances, RELEASES[year].tolerances_mm[name])))
    return scores
"""

PEAK = """
def peak_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
"""

TOGETHER = (
    CHALLENGE
    + """
from pathlib import Path
from nnunet_kits.evaluation import evaluate_case

def ours(prediction, reference, year):
    found = evaluate_case(Path(prediction), Path(reference), year)
    return [found[kind][name] for name in found["dice"] for kind in ("dice", "surface_dice")]

year, repeats, pairs = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
for score in (challenge, ours):
    score(*pairs[min(pairs)], year)  # not timed: the first call loads modules and fills tables
for case, files in pairs.items():
    seconds, results = {challenge: [], ours: []}, {}
    for _ in range(repeats):
        for score in (challenge, ours):
            start = time.perf_counter(), time.process_time()
            results[score] = score(*files, year)
            seconds[score].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    difference = max(abs(a - b) for a, b in zip(results[challenge], results[ours], strict=True))
    print(json.dumps([case, seconds[challenge], seconds[ours], difference]), flush=True)
"""
)

ALONE = {
    "challenge": CHALLENGE + PEAK + "challenge(*sys.argv[1:4])\nprint(json.dumps(peak_mb()))",
    "ours": PEAK
    + """
import json, sys
from nnunet_kits.cli.main import main
prediction, reference, year, output = sys.argv[1:]
if main(["evaluate", prediction, reference, "--year", year, "-o", output]):
    sys.exit(1)
print(json.dumps(peak_mb()))
""",
}


def together(pairs: list[Pair], year: str, repeats: int) -> None:
    """Print the table of one process that scores every case by both methods in turn."""
    files = json.dumps({pair.case: [str(pair.prediction), str(pair.reference)] for pair in pairs})
    print("| case | challenge, s | ours, s | ratio | ratio of CPU time | largest difference |")
    print("|---|---|---|---|---|---|")
    sums, worst = [0.0] * 4, 0.0
    for line in lines_of(TOGETHER, year, str(repeats), files, **ONE_THREAD):
        case, *timed, difference = json.loads(line)
        wall, cpu = ([statistics.median(run[kind] for run in runs) for runs in timed] for kind in (0, 1))
        sums = [total + part for total, part in zip(sums, (*wall, *cpu), strict=True)]
        worst = max(worst, difference)
        print(row(case, wall, cpu, difference), flush=True)
    print(row("all", sums[:2], sums[2:], worst))


def row(name: str, wall: list[float], cpu: list[float], difference: float) -> str:
    """A line of the table: seconds of the challenge's method and of ours."""
    ratios = f"{wall[0] / wall[1]:.0f} | {cpu[0] / cpu[1]:.0f}"
    return f"| {name} | {wall[0]:.2f} | {wall[1]:.3f} | {ratios} | {difference:.1e} |"


def alone(pairs: list[Pair], year: str, repeats: int) -> None:
    """Print the table of a process for each case and method."""
    print("| case | challenge, s | ours, s | ratio | challenge, MB | ours, MB | ratio |")
    print("|---|---|---|---|---|---|---|")
    sums, peaks = [0.0, 0.0], [0.0, 0.0]
    for pair in pairs:
        seconds: dict[str, list[float]] = {name: [] for name in ALONE}
        peak: dict[str, float] = {}
        for _ in range(repeats):
            for name, program in ALONE.items():
                with tempfile.TemporaryDirectory() as output:
                    start = time.perf_counter()
                    lines = lines_of(program, str(pair.prediction), str(pair.reference), year, output, **ONE_THREAD)
                    seconds[name].append(time.perf_counter() - start)
                peak[name] = max(peak.get(name, 0.0), json.loads(lines[-1]))
        theirs, ours = (statistics.median(seconds[name]) for name in ALONE)
        sums = [sums[0] + theirs, sums[1] + ours]
        peaks = [max(old, new) for old, new in zip(peaks, peak.values(), strict=True)]
        print(process_row(pair.case, theirs, ours, *peak.values()), flush=True)
    print(process_row("all; largest", *sums, *peaks))


def process_row(name: str, theirs: float, ours: float, their_mb: float, our_mb: float) -> str:
    """A line of the second table: seconds and peak memory of the challenge's method and of ours."""
    seconds = f"{theirs:.2f} | {ours:.2f} | {theirs / ours:.1f}"
    return f"| {name} | {seconds} | {their_mb:.0f} | {our_mb:.0f} | {their_mb / our_mb:.1f} |"


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("references", type=Path)
    parser.add_argument("--year", choices=("21", "23"), default="23")
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many (default: 3)")
    options = parser.parse_args()
    pairs = find_pairs(options.predictions, options.references, options.year, partly=True, samples=False)
    print(f"{machine()}\n\nIn one process, after one case that is not timed:\n")
    together(pairs, options.year, options.repeats)
    print("\nIn a process of its own each, with the start of Python and all imports:\n")
    alone(pairs, options.year, options.repeats)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
