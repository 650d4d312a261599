"""Component operations beside scipy's and nnU-Net's own, side by side in one run: seconds, ratios, and whether equal.

    python benchmarks/postprocessing.py FOLDER --cases 00000 00160

FOLDER holds ``case_XXXXX/segmentation.nii.gz``. To each full-size label map 2000 specks are added near the organs. Then
specks of the whole organ are removed by ``scipy.ndimage.label`` and ``bincount`` and by ``remove_small``, and all but
the largest component by nnU-Net's function and by ``keep_largest``. Each is timed in turn, the least of the repeats
counts. ``--scipy-crop`` lets scipy work in the foreground box too.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation
from numpy.typing import NDArray
from scipy import ndimage
from side_by_side import machine

from nnunet_kits.geometry import bounding_box, whole_box
from nnunet_kits.geometry import crop as cropped
from nnunet_kits.images import read_volume
from nnunet_kits.postprocessing.operations import keep_largest, remove_small
from nnunet_kits.postprocessing.pipeline import apply_chain, load_chain

SPECKS = 2000
MIN_VOXELS = 100
FULL = np.ones((3, 3, 3), bool)


def with_specks(labels: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    """A copy with specks of 1 to 27 voxels in the foreground box and 20 voxels around it."""
    generator = np.random.default_rng(seed)
    inside = bounding_box(labels)
    assert inside is not None
    low = [max(0, start - 20) for start, _ in inside]
    high = [min(n, stop + 20) - 3 for (_, stop), n in zip(inside, labels.shape, strict=True)]
    result = labels.copy()
    for corner in generator.integers(low, np.maximum(high, np.add(low, 1)), (SPECKS, 3)):
        size = generator.integers(1, 4, 3)
        part = result[tuple(slice(at, at + n) for at, n in zip(corner, size, strict=True))]
        part[part == 0] = generator.integers(1, 4)
    return result


def scipy_remove(labels: NDArray[np.uint8], crop: bool) -> NDArray[np.uint8]:
    """Remove components under MIN_VOXELS by label and bincount."""
    inside = bounding_box(labels) if crop else whole_box(labels.shape)
    assert inside is not None
    ids, _ = ndimage.label(cropped(labels, inside) > 0, structure=FULL)
    sizes = np.bincount(ids.ravel())
    result = labels.copy()
    cropped(result, inside)[(sizes < MIN_VOXELS)[ids]] = 0
    return result


def candidates(labels: NDArray[np.uint8], scipy_crop: bool) -> dict[str, Callable[[], NDArray[np.uint8]]]:
    """The calls that are compared, and the shipped chain ``clean``."""
    clean, region = load_chain("clean"), {"region": "kidney_and_mass", "replace_with": "background"}
    return {
        "scipy": lambda: scipy_remove(labels, scipy_crop),
        "small": lambda: remove_small(labels, 1.0, min_voxels=MIN_VOXELS, **region),
        "nnU-Net": lambda: remove_all_but_largest_component_from_segmentation(labels, (1, 2, 3)),
        "largest": lambda: keep_largest(labels, 1.0, count=1, **region),
        "clean": lambda: apply_chain(labels, 1.0, clean),
    }


def least(functions: dict[str, Callable[[], NDArray[np.uint8]]], repeats: int) -> dict[str, float]:
    """The least seconds of each, taken in turns."""
    seconds = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def main() -> None:
    """Measure every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", nargs="+", help="default: all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scipy-crop", action="store_true", help="let scipy work in the foreground box too")
    options = parser.parse_args()
    print(machine())
    print("| case | voxels | scipy, s | remove_small, s | ratio | nnU-Net, s | keep_largest, s | ratio | clean, s |")
    print("|---|---|---|---|---|---|---|---|---|")
    seconds: dict[str, list[tuple[float, float]]] = {"scipy": [], "nnU-Net": []}
    for folder in sorted(options.folder.glob("case_*")):
        case = folder.name.removeprefix("case_")
        if options.cases and case not in options.cases:
            continue
        volume = read_volume(folder / "segmentation.nii.gz")
        labels = with_specks(np.ascontiguousarray(volume.array.T).astype(np.uint8))
        functions = candidates(labels, options.scipy_crop)
        assert np.array_equal(functions["scipy"](), functions["small"]())
        assert np.array_equal(functions["nnU-Net"](), functions["largest"]())
        s = least(functions, options.repeats)
        seconds["scipy"].append((s["scipy"], s["small"]))
        seconds["nnU-Net"].append((s["nnU-Net"], s["largest"]))
        shape = "x".join(map(str, volume.grid.shape))
        small, largest = (f"{theirs / ours:.1f}" for (theirs, ours) in (values[-1] for values in seconds.values()))
        print(
            f"| {case} | {shape} | {s['scipy']:.2f} | {s['small']:.3f} | {small} "
            f"| {s['nnU-Net']:.2f} | {s['largest']:.3f} | {largest} | {s['clean']:.3f} |",
            flush=True,
        )
    for name, values in seconds.items():
        ratios = [theirs / ours for theirs, ours in values]
        theirs, ours = (sum(column) for column in zip(*values, strict=True))
        print(
            f"{name}: {min(ratios):.1f} to {max(ratios):.1f} times, median {np.median(ratios):.1f}; "
            f"all together {theirs:.2f} s and {ours:.2f} s, {theirs / ours:.1f} times; results equal"
        )


if __name__ == "__main__":
    main()
