"""Loading and augmentation against nnU-Net's own, in one run: samples a core-second and peak memory of one worker.

    python benchmarks/augmentation.py            # the whole table, 100 samples and more each
    python benchmarks/augmentation.py --quick    # small patches, few samples: whether it runs, not what it costs

From preprocessed .b2nd cases, which it makes, to ready batches. Each loader has an interpreter of its own and one
thread; nnU-Net's and ours take turns, mode by mode. The floor reads and decompresses the patches and does nothing else.
Ratios are samples a core-second, ours over nnU-Net's.
"""

import argparse
import pickle
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import machine, told_by

SIZES = {"volume": (336, 336, 336), "anisotropic": (96, 420, 560), "small": (96, 120, 120)}
"""Cases: axes z, y, x in voxels."""


@dataclass(frozen=True)
class Mode:
    """One line of the table.

    Attributes:
        case: key of ``SIZES``.
        patch: voxels.
        batch: patches.
        regions: whether labels become the challenge's regions.
        cascade: whether there is a stage before.
        augmentation: nnU-Net's own, or a set.
    """

    case: str
    patch: tuple[int, ...]
    batch: int = 2
    regions: bool = False
    cascade: bool = False
    augmentation: str = "nnunet"


MODES = {
    "classes": Mode("volume", (128, 128, 128)),
    "regions": Mode("volume", (128, 128, 128), regions=True),
    "cascade, classes": Mode("volume", (128, 128, 128), cascade=True),
    "cascade, regions": Mode("volume", (128, 128, 128), regions=True, cascade=True),
    "192^3, regions": Mode("volume", (192, 192, 192), regions=True),
    "48x224x384, anisotropic": Mode("anisotropic", (48, 224, 384)),
    "2D, 256x256, batch 128": Mode("volume", (256, 256), 128),
    "zhang": Mode("volume", (80, 160, 160), augmentation="zhang"),
    "chen_zhang": Mode("anisotropic", (48, 224, 384), regions=True, augmentation="chen_zhang"),
    "beheshtifard": Mode("volume", (256, 256), 128, augmentation="beheshtifard"),
}
QUICK = {
    "regions": Mode("small", (32, 48, 48), regions=True),
    "cascade, classes": Mode("small", (32, 48, 48), cascade=True),
    "anisotropic": Mode("small", (12, 64, 64)),
    "2D": Mode("small", (64, 64), 8),
    "chen_zhang": Mode("small", (12, 64, 64), regions=True, augmentation="chen_zhang"),
}

LOAD = """
import json, pickle, resource, sys, time
import numpy as np, torch
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunet_kits.augmentation import set_pipeline
from nnunet_kits.augmentation.loader import BoxLoader
from nnunet_kits.augmentation.pipeline import accelerate
from nnunet_kits.augmentation.sets import load_set
from nnunet_kits.machine import keep_freed_memory
torch.set_num_threads(1)
which, folder, file, samples = sys.argv[1:]
mode = pickle.load(open(file, "rb"))
patch = mode["patch"]
labels = {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3}
if mode["regions"]:
    labels = {"background": 0, "kidney_and_mass": [1, 2, 3], "mass": [2, 3], "tumor": 2}
manager = LabelManager(labels, [1, 3, 2] if mode["regions"] else None)
before = {"folder_with_segs_from_previous_stage": folder + "/previous"} if mode["cascade"] else {}
dataset = nnUNetDatasetBlosc2(folder, None, **before)
planar = len(patch) == 2 or max(patch) / patch[0] > 3  # as nnU-Net's trainer decides
turn = np.pi if planar else np.pi / 6
initial = get_patch_size(patch, *[(-turn, turn)] * 3, (0.85, 1.25))
if planar and len(patch) == 3:
    initial[0] = patch[0]
scales = [[1.0] * len(patch)]
while len(scales) < 5:
    scales.append([s / 2 if p * s >= 8 else s for s, p in zip(scales[-1], patch)])
transforms = nnUNetTrainer.get_training_transforms(
    patch, (-turn, turn), scales, tuple(range(len(patch))), planar and len(patch) == 3, [False], mode["cascade"],
    manager.foreground_labels if mode["cascade"] else None, manager.foreground_regions if mode["regions"] else None,
)
if mode["augmentation"] != "nnunet":
    chosen = load_set(mode["augmentation"])
    initial = set_pipeline.size_with_margin(chosen, patch)
    transforms = set_pipeline.pipeline(chosen, patch, transforms, labels)
if which == "ours":
    transforms = accelerate(transforms)
    keep_freed_memory()  # as processes that load for our trainers do
kind, size = BoxLoader if which == "ours" else nnUNetDataLoader, initial
if which == "floor":
    size, transforms = patch, None
loader = kind(dataset, mode["batch"], size, patch, manager, 0.33, transforms=transforms)
np.random.seed(0)
torch.manual_seed(0)
batches = -(-int(samples) // mode["batch"])
for _ in range(max(2, 24 // mode["batch"])):  # compiles what is drawn, fills caches
    next(loader)
start, wall = time.process_time(), time.perf_counter()
for _ in range(batches):
    next(loader)
cpu, wall = time.process_time() - start, time.perf_counter() - wall
print(json.dumps({
    "cpu": cpu / batches / mode["batch"], "wall": wall / batches / mode["batch"],
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
}))
"""


def write_cases(folder: Path, shape: tuple[int, ...], patch: tuple[int, ...], count: int) -> None:
    """Preprocessed cases: two kidneys with a tumour and a cyst each in noise, and the stage before a cascade."""
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
    from scipy import ndimage

    (folder / "previous").mkdir(parents=True)
    chosen = dict(zip(("blocks", "chunks"), comp_blosc2_params((1, *shape), patch), strict=True))
    for number in range(count):
        random = np.random.default_rng(number)
        labels = np.zeros(shape, np.int8)
        for side in (0.3, 0.7):
            for label, share, shift in ((1, 0.13, 0.0), (2, 0.05, 0.07), (3, 0.03, -0.08)):
                middle = [(0.5 + shift) * shape[0], 0.5 * shape[1], (side + shift / 2) * shape[2]]
                axes = [((np.arange(edge) - m) / (share * edge)) ** 2 for edge, m in zip(shape, middle, strict=True)]
                labels[(axes[0][:, None, None] + axes[1][:, None] + axes[2]) < 1] = label
        tissue = np.array([-0.5, 1.0, 0.7, 0.2], np.float32)[labels]
        image = ndimage.gaussian_filter(tissue + random.standard_normal(shape, np.float32) * 0.6, 0.7)
        places = {}
        for label in (1, 2, 3, (1, 2, 3), (2, 3)):
            voxels = np.argwhere(np.isin(labels, label))
            voxels = voxels[random.choice(len(voxels), min(len(voxels), 10000), replace=False)]
            places[label] = np.pad(voxels, ((0, 0), (1, 0)))
        stem = str(folder / f"case_{number:05d}")
        nnUNetDatasetBlosc2.save_case(image[None], labels[None], {"class_locations": places}, stem, **chosen)
        before = str(folder / "previous" / f"case_{number:05d}")
        nnUNetDatasetBlosc2.save_seg(labels, before, chosen["chunks"][1:], chosen["blocks"][1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small patches, few samples")
    parser.add_argument("--samples", type=int, help="of each loader and mode, at least (default 100; quick 16)")
    parser.add_argument("--cases", type=int, default=3, help="preprocessed cases (default 3)")
    parser.add_argument("--modes", nargs="+", metavar="MODE", help="lines of the table (default: all)")
    options = parser.parse_args()
    modes: dict[str, Mode] = QUICK if options.quick else MODES
    unknown = sorted(set(options.modes or []) - set(modes))
    if unknown:
        parser.error(f"no mode is called {', '.join(unknown)}. Known: {', '.join(modes)}")
    samples = options.samples or (16 if options.quick else 100)
    single = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
    single["NNUNET_KITS_STOCK_LOADING"] = "0"
    print(machine())
    print(f"{samples} samples or more of each; CPU ms a sample, ratio of samples a core-second, peak memory in GB")
    head = ("mode", "nnU-Net", "ours", "ratio", "floor", "peak nnU-Net", "peak ours")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    with tempfile.TemporaryDirectory() as work:
        for name, mode in modes.items():
            if options.modes and name not in options.modes:
                continue
            folder = Path(work) / f"{mode.case}_{len(mode.patch)}_{max(mode.patch)}"
            if not folder.exists():
                write_cases(folder, SIZES[mode.case], mode.patch, options.cases)
            file = Path(work) / "mode.pkl"
            file.write_bytes(pickle.dumps(asdict(mode)))
            told: dict[str, dict[str, Any]] = {
                which: told_by(LOAD, which, str(folder), str(file), str(samples), **single)
                for which in ("nnunet", "ours", "floor")
            }
            stock, ours = told["nnunet"], told["ours"]
            line = (
                name,
                f"{1e3 * stock['cpu']:.1f}",
                f"{1e3 * ours['cpu']:.1f}",
                f"{stock['cpu'] / ours['cpu']:.1f}x",
                f"{1e3 * told['floor']['cpu']:.1f}",
                f"{stock['peak']:.2f}",
                f"{ours['peak']:.2f}",
            )
            print("| " + " | ".join(line) + " |", flush=True)


if __name__ == "__main__":
    main()
