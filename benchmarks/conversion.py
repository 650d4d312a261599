"""Seconds, bytes and peak memory of converting a KiTS folder, for compact and copied images.

    python benchmarks/conversion.py FOLDER --year 23

The last column is what everything after the conversion gains: nnU-Net's own reader, over all images once.
"""

import argparse
import tempfile
from pathlib import Path

from side_by_side import lines_of, machine, told_by

CONVERT = """
import json, resource, sys, time
from pathlib import Path
from nnunet_kits.conversion.convert import convert
from nnunet_kits.releases import RELEASES
from nnunet_kits.conversion.settings import Settings
source, raw, year, mode = sys.argv[1:]
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
made = convert(Settings(RELEASES[year], Path(source), Path(raw), mode=mode, workers=1))
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "base_kb": base, "peak_kb": peak, "cases": made.cases}))
"""

LOAD = """
import sys, time
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
start = time.perf_counter()
for path in sys.argv[1:]:
    NibabelIOWithReorient().read_images([path])
print(time.perf_counter() - start)
"""


def main() -> None:
    """Measure both modes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--year", choices=("19", "21", "23"), default="23")
    options = parser.parse_args()
    print(machine())
    print(f"{'mode':8} {'seconds':>8} {'MB before':>10} {'MB after':>9} {'peak MB':>8} {'nnU-Net loads in s':>19}")
    for mode in ("copy", "compact"):
        with tempfile.TemporaryDirectory() as raw:
            result = told_by(CONVERT, str(options.folder), raw, options.year, mode, OMP_NUM_THREADS="1")
            (dataset,) = Path(raw).iterdir()
            images = sorted(dataset.glob("images*/*.nii.gz"))
            before = sum(case["sources"]["image"]["bytes"] for case in result["cases"].values())
            after = sum(path.stat().st_size for path in images)
            loading = float(lines_of(LOAD, *map(str, images), OMP_NUM_THREADS="1")[-1])
        print(
            f"{mode:8} {result['seconds']:8.1f} {before / 1e6:10.1f} {after / 1e6:9.1f} "
            f"{result['peak_kb'] / 1e3:8.0f} {loading:19.1f}"
        )
    for name, case in result["cases"].items():
        print(f"{name}: {case['shape']} voxels, {case['sources']['image']['bytes'] / 1e6:.1f} MB")
    largest = max(case["shape"][0] * case["shape"][1] * case["shape"][2] for case in result["cases"].values())
    growth = (result["peak_kb"] - result["base_kb"]) * 1024
    print(f"compact: {growth / largest:.2f} bytes a voxel of the largest case above the interpreter's own memory")


if __name__ == "__main__":
    main()
