"""Export of a whole scan beside nnU-Net's own, in one run: from the logits on the model's grid to the saved label map.

    python benchmarks/export.py LABEL_MAP [--spacing 0.78]

LABEL_MAP is a full-size KiTS segmentation, for example case_00000's (611 x 512 x 512 voxels). Logits of four classes
are made of it: each label's mask on the grid, blurred, with noise, in half precision as both windows leave them.
nnU-Net's export_prediction_from_logits and ours get the same; each runs in an interpreter of its own. Peak memory is
counted from when the logits are loaded (Linux alone tells it). Ratios are nnU-Net's over ours.
"""

import argparse
import json
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from side_by_side import machine, told_by
from trainers import bare_plans

from nnunet_kits.images import read_grid

SHARED = """
import json, resource, sys, time
from pathlib import Path
import numpy as np, torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
logits, scan, plans, dataset, out = sys.argv[1:]
logits, manager, dataset = np.load(logits), PlansManager(plans), json.load(open(dataset))
configuration = manager.get_configuration("3d_fullres")
configuration.resampling_fn_probabilities, manager.image_reader_writer_class  # looked up once, not timed
def used():
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime
def begin():
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    return time.perf_counter(), used()
def told(start, cpu, **more):
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6
    wall = time.perf_counter() - start
    print(json.dumps({"wall": wall, "cpu": used() - cpu, "peak": peak, "logits": logits.nbytes / 1e9, **more}))
"""

STOCK = (
    SHARED
    + """
from nnunetv2.inference.export_prediction import export_prediction_from_logits
reader = manager.image_reader_writer_class()
image, properties = reader.read_images([scan])
shape = image.shape[1:]
del image
properties.update(shape_before_cropping=shape, bbox_used_for_cropping=[[0, n] for n in shape],
                  shape_after_cropping_and_before_resampling=shape)
start, cpu = begin()
export_prediction_from_logits(logits, properties, configuration, manager, dataset, out)
told(start, cpu)
"""
)

OURS = (
    SHARED
    + """
from nnunet_kits.images import read_scan
from nnunet_kits.inference.export import labels_of
from nnunet_kits.inference.model import Model
from nnunet_kits.inference.stage import Answer
from nnunet_kits.resampling.grid import model_grid
model = Model(folder=Path("benchmark"), plans=manager, configuration=configuration,
              labels=manager.get_label_manager(dataset), dataset_json=dataset, network=torch.nn.Identity(),
              weights=[{}], mirror_axes=(), device=torch.device("cpu"))
found = read_scan([Path(scan)], manager.plans["image_reader_writer"], manager.image_reader_writer_class)
shape, spacing, write = found.array.shape[1:], found.spacing_mm, found.write
del found
whole = tuple((0, n) for n in shape)
grid = model_grid(manager.plans, configuration.configuration, whole, shape, spacing)
answer = Answer(model, grid, tuple((0, n) for n in grid.shape), torch.from_numpy(logits))
start, cpu = begin()
labels = labels_of([answer], whole)
decided = time.perf_counter() - start
write(labels, Path(out + ".nii.gz"))
told(start, cpu, decided=decided)
"""
)


def write_plans(folder: Path, spacing: float) -> tuple[Path, Path]:
    """Plans and dataset.json, as far as an export asks for them."""
    labels = {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    (folder / "plans.json").write_text(json.dumps(bare_plans("BenchmarkPlans", {"3d_fullres": spacing})))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return folder / "plans.json", folder / "dataset.json"


def write_logits(label_map: Path, spacing: float, folder: Path) -> Path:
    """Logits of four classes on the model's grid."""
    canonical = nib.as_closest_canonical(nib.load(label_map))
    labels = np.asarray(canonical.dataobj).astype(np.uint8).transpose(2, 1, 0)
    edges = [float(edge) for edge in canonical.header.get_zooms()][::-1]
    shape = [round(size * edge / spacing) for size, edge in zip(labels.shape, edges, strict=True)]
    places = [
        np.minimum(size - 1, ((np.arange(new) + 0.5) * size / new).astype(int))
        for size, new in zip(labels.shape, shape, strict=True)
    ]
    small = labels[np.ix_(*places)]
    random = np.random.default_rng(0)
    logits = np.empty((4, *shape), np.float16)
    for label in range(4):
        blurred = ndimage.gaussian_filter((small == label).astype(np.float32), 1.0) * 12
        logits[label] = blurred + random.standard_normal(small.shape, np.float32) * 0.05
    np.save(folder / "logits.npy", logits)
    return folder / "logits.npy"


def main() -> None:
    """Make logits, export them both ways, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("label_map", type=Path)
    parser.add_argument("--spacing", type=float, default=0.78, help="mm, of the model's grid")
    parser.add_argument("--times", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plans, dataset = write_plans(folder, options.spacing)
        logits = write_logits(options.label_map, options.spacing, folder)
        print(
            f"{machine()}; {options.label_map.parent.name} "
            f"{'x'.join(str(n) for n in read_grid(options.label_map).shape)}, four classes, grid of "
            f"{options.spacing} mm {'x'.join(str(n) for n in np.load(logits, mmap_mode='r').shape[1:])}\n"
        )
        print("| seconds | of them writing (ours) | CPU seconds | peak GB (the logits) |\n|---|---|---|---|")
        for number in range(options.times):
            common = (str(options.label_map), str(plans), str(dataset))
            stock = told_by(STOCK, str(logits), *common, str(folder / f"stock{number}"))
            ours = told_by(OURS, str(logits), *common, str(folder / f"ours{number}"))
            cells = [f"{stock[key]:.1f} / {ours[key]:.1f} = {stock[key] / ours[key]:.1f}x" for key in ("wall", "cpu")]
            writing = ours["wall"] - ours["decided"]
            peak = f"{stock['peak']:.2f} / {ours['peak']:.2f} = {stock['peak'] / ours['peak']:.1f}x"
            print(f"| {cells[0]} | {writing:.1f} | {cells[1]} | {peak} ({ours['logits']:.2f}) |", flush=True)
        a, b = (np.asarray(nib.load(folder / f"{by}0.nii.gz").dataobj) for by in ("stock", "ours"))
        print(f"\n{np.count_nonzero(a != b)} of {a.size} voxels differ ({np.mean(a == b):.6%} are equal)")


if __name__ == "__main__":
    main()
