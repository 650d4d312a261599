"""Coarse-to-fine prediction beside stock nnU-Net: wall time, CPU time, peak memory and agreement, same weights.

    python benchmarks/prediction.py WORK --train REDUCED_TREE --full FULL_TREE [--cases case_00003 ...]

REDUCED_TREE and FULL_TREE are KiTS23 folders; a small cascade is trained on the first (once: WORK keeps it; a few cases
of few voxels are enough, since the low-resolution stage predicts all of them for the next). Cases of the second are
predicted in turn by ``nnUNetv2_predict`` (low resolution, then cascade) and by ``nnunet_kits predict``. With --phases
stock's own functions run in one process instead of its commands, and seconds are told by phase.

The plans are those of KiTSCascadePlans, except what lets a CPU train them in minutes: few features and stages, a small
patch, and a coarse spacing at which such a patch still sees a whole flank. Ratios are stock's over ours.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from side_by_side import dice, environment, machine, told_by
from trainers import DATASET, shrunk

from nnunet_kits.labels import REGIONS

PLANS, TRAINER = "KiTSCascadePlans", "ResUNetTrainer_AdamWCosine_4epochs"
BIN = Path(sys.executable).parent

PHASES = """
import json, sys, time
import numpy as np, torch
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot
low, fine, image, work, name, step, device = sys.argv[1:]
seconds, previous = {}, None
def timed(phase, call, *arguments, **options):
    start = time.perf_counter()
    result = call(*arguments, **options)
    seconds[phase] = seconds.get(phase, 0) + time.perf_counter() - start
    return result
for stage, folder in (("coarse", low), ("fine", fine)):
    p = nnUNetPredictor(tile_step_size=float(step), use_mirroring=False, device=torch.device(device), allow_tqdm=False,
                        perform_everything_on_device=device == "cuda")
    p.initialize_from_trained_model_folder(folder, ("all",))
    reader = p.plans_manager.image_reader_writer_class()
    data, properties = timed(f"{stage} load", reader.read_images, [image])
    seg = None if previous is None else timed(f"{stage} load", reader.read_seg, previous)[0]
    made = p.configuration_manager.preprocessor_class(verbose=False)
    data, seg, properties = timed(f"{stage} preprocess", made.run_case_npy, data, seg, properties, p.plans_manager,
                                  p.configuration_manager, p.dataset_json)
    if previous is not None:
        labels = p.label_manager.foreground_labels
        hot = timed(f"{stage} preprocess", convert_labelmap_to_one_hot, seg[0], labels, data.dtype)
        data = np.vstack((data, hot))
    logits = timed(f"{stage} network", p.predict_logits_from_preprocessed_data, torch.from_numpy(data)).cpu()
    previous = f"{work}/{'stock' if stage == 'fine' else 'low'}/{name}.nii.gz"
    timed(f"{stage} export", export_prediction_from_logits, logits, properties, p.configuration_manager,
          p.plans_manager, p.dataset_json, previous.removesuffix(".nii.gz"))
print(json.dumps(seconds))
"""


def run(command: list[str], log: Path) -> dict[str, float]:
    """Run a command to its end: wall seconds, CPU seconds, peak memory in MB."""
    start = time.perf_counter()
    with log.open("a") as out:
        out.write(" ".join(command) + "\n")
        out.flush()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed; see {log}")
    return {
        "wall": time.perf_counter() - start,
        "cpu": used.ru_utime + used.ru_stime,
        "MB": used.ru_maxrss / (1 << 10),
    }


def train(work: Path, tree: Path, options: argparse.Namespace) -> None:
    """A small cascade at George's spacings, trained on a tree of few voxels; nothing where it is done."""
    log = work / "train.log"
    if (work / "trained").exists():
        return
    run([str(BIN / "nnunet_kits"), "convert", "--year", "23", str(tree), "--mode", "compact"], log)
    run([str(BIN / "nnUNetv2_extract_fingerprint"), "-d", "220", "-np", "2"], log)
    run([str(BIN / "nnunet_kits"), "plan", "-d", "220", "--preset", PLANS], log)
    file = Path(os.environ["nnUNet_preprocessed"]) / DATASET / f"{PLANS}.json"
    plans = json.loads(file.read_text())
    for name, configuration in plans["configurations"].items():
        if "architecture" in configuration:
            shrink(configuration, options, fine=name == "3d_fullres")
    file.write_text(json.dumps(plans, indent=2))
    configurations = ["3d_lowres", "3d_fullres"]
    run([str(BIN / "nnunet_kits"), "preprocess", "-d", "220", "-p", PLANS, "-c", *configurations, "-np", "1"], log)
    device = ["-device", options.device]
    base = [str(BIN / "nnUNetv2_train"), "220"]
    run([*base, "3d_lowres", "all", "-p", PLANS, "-tr", TRAINER, *device], log)
    train_only([*base, "3d_cascade_fullres", "all", "-p", PLANS, "-tr", TRAINER, *device], log)
    (work / "trained").touch()


def train_only(command: list[str], log: Path) -> None:
    """Run a training and leave out its validation, which predicts every training case at full resolution."""
    folder = model_folder("3d_cascade_fullres") / "fold_all"
    with log.open("a") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    while process.poll() is None and not (folder / "checkpoint_final.pth").is_file():
        time.sleep(1)
    process.terminate()
    process.wait()
    if not (folder / "checkpoint_final.pth").is_file():
        sys.exit(f"{' '.join(command)} failed; see {log}")


def shrink(configuration: dict, options: argparse.Namespace, fine: bool) -> None:
    """Make a configuration trainable in minutes on a CPU: few features, a small patch; the coarse one sees far."""
    configuration |= shrunk(configuration, options.patch, (options.features[fine], 64), options.stages[fine])
    if not fine:
        configuration["spacing"] = [options.coarse_spacing] * 3
    configuration["kits_training"] = {
        "num_iterations_per_epoch": options.iterations[fine],
        "num_val_iterations_per_epoch": 1,
        "initial_lr": options.rates[fine],
        "mirror_axes": [],
    }


def region_dice(a: np.ndarray, b: np.ndarray) -> list[float]:
    """Dice of each hierarchical class."""
    return [dice(np.isin(a, labels), np.isin(b, labels)) for labels in REGIONS.values()]


def by_stock(work: Path, source: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """One case by nnU-Net's two commands."""
    model = [*("-d", "220", "-p", PLANS, "-tr", TRAINER, "-f", "all", "-device", options.device, "--disable_tta")]
    model += ["-step_size", str(options.step), "-npp", "0", "-nps", "0", "--disable_progress_bar"]
    command = [str(BIN / "nnUNetv2_predict"), "-i", str(source)]
    low, log = work / "low", work / "predict.log"
    found = {"lowres": run([*command, "-o", str(low), "-c", "3d_lowres", *model], log)}
    previous = ["-prev_stage_predictions", str(low)]
    out = ["-o", str(work / "stock"), "-c", "3d_cascade_fullres"]
    found["cascade"] = run([*command, *out, *previous, *model], log)
    return found


def by_ours(work: Path, source: Path, options: argparse.Namespace) -> dict[str, float]:
    """One case by our command."""
    command = [str(BIN / "nnunet_kits"), "predict", "-i", str(source), "-o", str(work / "ours")]
    command += ["--fine", str(model_folder("3d_cascade_fullres")), "--folds", "all", "--disable_tta"]
    return run([*command, "--step", str(options.step), "--device", options.device], work / "predict.log")


def model_folder(configuration: str) -> Path:
    """Where the training left a stage."""
    return Path(os.environ["nnUNet_results"]) / DATASET / f"{TRAINER}__{PLANS}__{configuration}"


def show(name: str, found: dict[str, dict[str, float]]) -> None:
    """Print stock's two commands together against ours."""
    stock = {key: found["lowres"][key] + found["cascade"][key] for key in ("wall", "cpu")}
    stock["MB"] = max(found["lowres"]["MB"], found["cascade"]["MB"])
    ours = found["ours"]
    print("| case | wall s | CPU s | peak MB |\n|---|---|---|---|")
    cells = [f"{stock[key]:.0f} / {ours[key]:.0f} = {stock[key] / ours[key]:.1f}x" for key in ("wall", "cpu", "MB")]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def agreement(work: Path, name: str, reference: Path) -> None:
    """Print the Dice of the two outputs, everywhere and in our boxes, and of each with the reference."""
    files = [work / "stock" / f"{name}.nii.gz", work / "ours" / f"{name}.nii.gz", reference]
    stock, ours, truth = (read_turned(file) for file in files)
    boxes = json.loads((work / "ours" / "prediction.json").read_text())["cases"][name]["boxes"]
    looked_at = np.zeros(stock.shape, bool)
    for box in boxes:
        looked_at[tuple(slice(*edges) for edges in box)] = True
    pairs = ((stock, ours), (stock[looked_at], ours[looked_at]), (stock, truth), (ours, truth))
    columns = [region_dice(*pair) for pair in pairs]
    print("\n| case | class | Dice of the two | in our boxes | stock, reference | ours, reference |")
    print("|---|---|---|---|---|---|")
    for region, *found in zip(REGIONS, *columns, strict=True):
        print(f"| {name} | {region} | " + " | ".join(f"{value:.4f}" for value in found) + " |")
    print(flush=True)


def read_turned(path: Path) -> np.ndarray:
    """A label map in the axis order of the plans' reader, in which boxes are told."""
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj).transpose(2, 1, 0)


def phases(work: Path, name: str, image: Path, options: argparse.Namespace) -> None:
    """Print seconds by phase: stock's own functions in one process, ours as its record tells."""
    folders = [str(model_folder(stage)) for stage in ("3d_lowres", "3d_cascade_fullres")]
    ours = json.loads((work / "ours" / "prediction.json").read_text())["cases"][name]["seconds"]
    for made in ("low", "stock"):
        (work / made).mkdir()
    stock = told_by(PHASES, *folders, str(image), str(work), name, str(options.step), options.device)
    print(f"\n{name}, seconds by phase\n\n| stock | s | ours | s |\n|---|---|---|---|")
    columns = [[f"{phase} | {seconds:.1f}" for phase, seconds in by.items()] for by in (stock, ours)]
    for left, right in itertools.zip_longest(*columns, fillvalue=" | "):
        print(f"| {left} | {right} |")
    rest = sum(s for phase, s in stock.items() if "network" not in phase)
    mine = sum(s for phase, s in ours.items() if "network" not in phase)
    fine_stock = sum(s for phase, s in stock.items() if phase.startswith("fine"))
    fine_ours = ours["fine network"] + ours["fine preprocess"] + ours["fine export"] + ours["load"] + ours["write"]
    print(f"\nnot the network: {rest:.1f} / {mine:.1f} = {rest / mine:.1f}x")
    print(f"the fine stage alone, all of it: {fine_stock:.1f} / {fine_ours:.1f} = {fine_stock / fine_ours:.1f}x")


def main() -> None:
    """Train where needed, predict, print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--full", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", default=["case_00003", "case_00418", "case_00000"])
    parser.add_argument("--phases", action="store_true", help="tell seconds by phase")
    parser.add_argument("--agreement", action="store_true", help="only compare what an earlier run left in WORK")
    parser.add_argument("--step", type=float, default=0.5)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--stages", type=int, nargs=2, default=[5, 3], help="of the coarse and the fine network")
    parser.add_argument("--features", type=int, nargs=2, default=[8, 4], help="of the first stage; coarse and fine")
    parser.add_argument("--coarse-spacing", type=float, default=4.0, help="mm")
    parser.add_argument("--iterations", type=int, nargs=2, default=[100, 100], help="an epoch, of 4; coarse and fine")
    parser.add_argument("--rates", type=float, nargs=2, default=[0.004, 0.006], help="learning rates; coarse and fine")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    work = options.work.resolve()
    os.environ.update(environment(work), nnUNet_compile="F", nnUNet_n_proc_DA="0")
    train(work, options.train.resolve(), options)
    os.environ["nnUNet_def_n_proc"] = str(os.cpu_count())
    networks = " and ".join(
        f"{n} stages from {f} features at {mm:g} mm"
        for n, f, mm in zip(options.stages, options.features, (options.coarse_spacing, 0.78), strict=True)
    )
    print(f"{machine()}; step {options.step}, no mirroring, {options.device}; {networks}, patch {options.patch}^3\n")
    for name in options.cases:
        folder = options.full / name if (options.full / name).is_dir() else options.full / "dataset" / name
        if options.agreement:
            agreement(work / name, name, folder / "segmentation.nii.gz")
            continue
        shutil.rmtree(work / name, ignore_errors=True)
        image = work / name / "in" / f"{name}_0000.nii.gz"
        image.parent.mkdir(parents=True)
        shutil.copy(folder / "imaging.nii.gz", image)
        ours = by_ours(work / name, image.parent, options)
        if options.phases:
            phases(work / name, name, image, options)
        else:
            shape = "x".join(str(n) for n in nib.load(image).shape)
            show(f"{name} {shape}", {**by_stock(work / name, image.parent, options), "ours": ours})
        agreement(work / name, name, folder / "segmentation.nii.gz")


if __name__ == "__main__":
    main()
