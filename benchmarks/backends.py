"""torch and OpenVINO side by side on a CPU: windows through one network, and the whole command ``predict`` on a CT.

    python benchmarks/backends.py [--size full] [--small] [--out FILE]

The network is ResUNet, by default of 32 to 320 features in six stages, with random weights. Both backends run in turn,
windows in one process, commands in one each, with as many threads as torch takes. The command predicts a phantom of a
CT's size whole, by one model, without mirroring unless --mirrored, at --spacing mm and in windows of
--command-window^3: reading, resampling, network, export, and with OpenVINO the conversion. Ratios are torch's over
OpenVINO's.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from side_by_side import device_name, environment, machine, told_by
from systems import write_model, write_scan

BACKENDS = ("torch", "openvino")
LABELS = {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3}
HELPS = 1.05
"""A ratio that is more than chance on a quiet machine."""

COMMAND = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
wall = time.perf_counter() - start
print(json.dumps({"wall": wall, "MB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024}))
"""
"""Runs from a small process: a child is not seen to need less memory than its parent."""


def windows(folder: Path, edge: int, options: argparse.Namespace) -> dict[str, Any]:
    """One window through both backends in turn: seconds of each run, conversion, and how far the logits are apart."""
    import torch

    from nnunet_kits.inference.model import load_model

    model, _ = write_model(folder, f"Windows{edge}Plans", "ResUNet", [edge] * 3, LABELS, options.features)
    networks, loading = {}, {}
    for backend in BACKENDS:
        start = time.perf_counter()
        networks[backend] = load_model(Path(model), torch.device("cpu"), backend=backend).folds()[0]
        loading[backend] = time.perf_counter() - start
    torch.manual_seed(0)
    window, seconds, logits = torch.randn(1, 1, edge, edge, edge), {backend: [] for backend in BACKENDS}, {}
    with torch.inference_mode():
        for turn in range(options.repeats + 1):
            for backend, network in networks.items():
                start = time.perf_counter()
                logits[backend] = network(window)
                if turn:  # the first is not counted
                    seconds[backend].append(time.perf_counter() - start)
    apart = float((logits["torch"] - logits["openvino"]).abs().max())
    return {
        "seconds": seconds,
        "conversion": loading["openvino"] - loading["torch"],
        "apart": apart,
        "largest": float(logits["torch"].abs().max()),
    }


def write_command_model(folder: Path, options: argparse.Namespace) -> str:
    """A model of random weights that resamples as nnU-Net does by default."""
    from trainers import bare_plans

    window = [options.command_window] * 3
    model, _ = write_model(folder, "CommandPlans", "ResUNet", window, LABELS, options.features)
    file = Path(model) / "plans.json"
    plans = json.loads(file.read_text())
    usual = bare_plans("CommandPlans", {"3d_fullres": options.spacing})["configurations"]["3d_fullres"]
    kept = {key: value for key, value in usual.items() if key == "spacing" or key.startswith("resampling")}
    plans["configurations"]["3d_fullres"] |= kept
    file.write_text(json.dumps(plans))
    return model


def commands(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The whole command by both backends in turn: wall seconds, peak MB, seconds by phase, how alike the label maps."""
    import nibabel as nib
    import numpy as np

    model = write_command_model(folder, options)
    image, _ = write_scan(folder, options.case, options.size)
    found: dict[str, Any] = {backend: [] for backend in BACKENDS}
    for turn in range(options.command_repeats):
        for backend in BACKENDS:
            out = folder / f"{backend}_{turn}"
            command = [sys.executable, "-m", "nnunet_kits.cli.main", "predict", "-i", image, "-o", str(out)]
            command += [] if options.mirrored else ["--disable_tta"]
            told = told_by(COMMAND, *command, "--fine", model, "--device", "cpu", "--backend", backend)
            (case,) = json.loads((out / "prediction.json").read_text())["cases"].values()
            found[backend].append({**told, "phases": case["seconds"]})
    maps = [np.asarray(nib.load(next((folder / f"{backend}_0").glob("*.nii.gz"))).dataobj) for backend in BACKENDS]
    return {**found, "shape": list(maps[0].shape), "differing": int(np.count_nonzero(maps[0] != maps[1]))}


def measured(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Everything, below a folder."""
    os.environ.update(environment(folder), nnUNet_compile="F")
    found: dict[str, Any] = {"machine": machine(), "device": device_name("cpu")}
    found["windows"] = {edge: windows(folder, edge, options) for edge in options.windows}
    if options.command_repeats:
        found["command"] = commands(folder, options)
    return found


def ratio(torch_seconds: list[float], openvino_seconds: list[float]) -> float:
    """Torch's median over OpenVINO's."""
    return statistics.median(torch_seconds) / statistics.median(openvino_seconds)


def show(found: dict[str, Any], options: argparse.Namespace) -> None:
    """Print tables, and whether OpenVINO helps here."""
    import torch

    print(f"{found['machine']}; {found['device']}, openvino {version('openvino')}; {torch.get_num_threads()} threads")
    print(f"ResUNet, features {options.features}; medians, in brackets the fastest\n")
    print(
        "| window | torch s | OpenVINO s | ratio | conversion s | logits apart (largest) |\n|---|---|---|---|---|---|"
    )
    ratios = []
    for edge, one in found["windows"].items():
        columns = [one["seconds"][backend] for backend in BACKENDS]
        ratios.append(ratio(*columns))
        cells = " | ".join(f"{statistics.median(column):.2f} ({min(column):.2f})" for column in columns)
        apart = f"{one['apart']:.1e} ({one['largest']:.2f})"
        print(f"| {edge}^3 | {cells} | {ratios[-1]:.2f}x | {one['conversion']:.1f} | {apart} |")
    if "command" in found:
        told = found["command"]
        shape, how = " x ".join(map(str, told["shape"])), "mirrored" if options.mirrored else "unmirrored"
        print(f"\npredict, {shape} voxels at {options.spacing:g} mm, windows of {options.command_window}^3, {how}\n")
        print("| | torch | OpenVINO | ratio |\n|---|---|---|---|")
        rows = {"wall s": lambda one: one["wall"], "peak MB": lambda one: one["MB"]}
        rows["fine network s"] = lambda one: one["phases"]["fine network"]
        for name, of in rows.items():
            columns = [[of(one) for one in told[backend]] for backend in BACKENDS]
            cells = " | ".join(f"{statistics.median(column):.1f}" for column in columns)
            print(f"| {name} | {cells} | {ratio(*columns):.2f}x |")
            ratios += [ratio(*columns)] if name == "wall s" else []
        print(f"\nvoxels whose label differs: {told['differing']}")
    helps = min(ratios) > HELPS
    advice = "OpenVINO helps here" if helps else "OpenVINO does not help here, or not always: leave --backend out"
    print(f"\n{advice} ({min(ratios):.2f}x to {max(ratios):.2f}x).")


def version(package: str) -> str:
    """Of an installed package."""
    import importlib.metadata

    return importlib.metadata.version(package)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, nargs="+", default=[96, 128], help="edges in voxels")
    parser.add_argument("--features", type=int, nargs="+", default=[32, 64, 128, 256, 320, 320], help="a stage")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each window that are counted (default: 5)")
    parser.add_argument("--command-repeats", type=int, default=2, help="0 leaves the command out (default: 2)")
    parser.add_argument("--command-window", type=int, default=128, help="edge in voxels (default: 128)")
    parser.add_argument(
        "--mirrored", action="store_true", help="the command mirrors, as by default: eight times the windows"
    )
    parser.add_argument("--spacing", type=float, default=1.5, help="mm, of the command's model (default: 1.5)")
    parser.add_argument("--size", default="full", choices=("tiny", "small", "full"), help="of the phantom")
    parser.add_argument("--case", type=int, default=0, help="number of the phantom (default: 0)")
    parser.add_argument("--small", action="store_true", help="small network, windows and phantom: does it work?")
    parser.add_argument("--out", type=Path, help="write what was measured as JSON")
    options = parser.parse_args()
    if options.small:
        options.windows, options.features, options.size = [16, 32], [4, 8, 8], "tiny"
        options.command_window, options.spacing, options.command_repeats = 32, 6.0, 1
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), options)
    show(found, options)
    if options.out:
        options.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    sys.exit(main())
