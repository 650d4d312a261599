"""Chen and Zhang's whole system on one full-size CT, with networks of the paper's size: seconds by phase, peak memory.

    python benchmarks/systems.py [--device cuda] [--case N] [--small] [--out FILE]

The CT is a phantom of 512 x 512 with the tissues told apart by HU: all but the organ is cut at 100 HU, kidney is 200,
tumour 280, cyst 360. The three models have random weights: each network is run on every window and flip, and then its
answer is overwritten by what the HU say. So the work is that of trained networks, and the region, the label map and the
pieces for the last rule are those of kidneys; the Dice that is printed says that it came through. The system is read,
loaded and run in an interpreter of its own, as ``nnunet_kits predict --system kits23_chenzhang`` does it; seconds are
those of the last of ``--runs``, without loading the models.

The paper states 20.65 s a case of the test set and 3525 MB of GPU memory, on RTX A4000.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from side_by_side import device_name, environment, machine, told_by
from trainers import bare_plans

FEATURES, SMALL_FEATURES = [32, 32, 64, 128, 256], [4, 4, 8, 8, 8]
"""Of the input's resolution, which has no layer of its own, and of the four stages below it."""

HU = {"tissue": 100, "kidney": 200, "tumor": 280, "cyst": 360}

PROGRAM = """
import json, resource, sys, time
from pathlib import Path
import nibabel as nib
import numpy as np
import torch
from nnunet_kits.inference.files import Case, predict_case
from nnunet_kits.inference.jobs import SystemJob, load
from nnunet_kits.inference.system import load_system

system, models, image, truth, out, device, runs, hu = sys.argv[1:]
models, hu = json.loads(models), json.loads(hu)

class Told(torch.nn.Module):
    '''Runs a network, and overwrites what it says by what the intensities say.'''
    def __init__(self, network, labels):
        super().__init__()
        self.network, self.places = network, [(hu[name] - 100) / 300 for name in labels]
    def forward(self, x):
        found, border = self.network(x), (hu["kidney"] + hu["tissue"] - 200) / 600
        if not self.places:
            found[:, 0], found[:, 1] = border - x[:, 0], x[:, 0] - border
            return found
        found[:, 0] = -9
        for head, place in enumerate(self.places, 1):
            found[:, head] = -10 * (x[:, 0] - place) ** 2
        return found

start = time.perf_counter()
job = SystemJob(load_system(system), tuple((key, (folder,)) for key, folder in models.items()), device=device)
loaded = load(job)
for member, found in loaded.members.items():
    for model in found:
        model.network = Told(model.network, ["kidney", "tumor", "cyst"] if member.key == "lesions" else [])
loading = time.perf_counter() - start
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
case = Case("case", Path(image), Path(out))
for _ in range(int(runs)):
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    outcome = predict_case(case, loaded)
    wall = time.perf_counter() - start
labels, expected = (np.asarray(nib.load(path).dataobj) for path in (out, truth))
def dice(values):
    a, b = np.isin(labels, values), np.isin(expected, values)
    return round(2 * float((a & b).sum()) / max(1, int(a.sum() + b.sum())), 4)
grid = nib.load(image)
print(json.dumps({
    "seconds": outcome["seconds"], "wall": wall, "loading": loading, "box": outcome["boxes"], "notes": outcome["notes"],
    "MB with models": before, "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "reckoned MB": loaded.bytes_needed(grid.shape[::-1], grid.header.get_zooms()[::-1], 2) / 1e6,
    "peak GPU MB": torch.cuda.max_memory_reserved() / 1e6 if device == "cuda" else None,
    "Dice": {"kidney_and_mass": dice([1, 2, 3]), "mass": dice([2, 3]), "tumor": dice([2])},
}))
"""


def architecture(network: str, features: list[int], flat: bool) -> dict[str, Any]:
    """What plans say of a network with a strided stem.

    Args:
        network: of ours.
        features: of all stages.
        flat: nothing is pooled along z.
    """
    from nnunet_kits.architectures import NETWORKS

    stages = len(features)
    arguments = {
        "n_stages": stages,
        "features_per_stage": features,
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1]] + [[1 if flat else 2, 2, 2]] * (stages - 1),
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    kinds = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    return {"network_class_name": NETWORKS[network].factory, "arch_kwargs": arguments, "_kw_requires_import": kinds}


def write_model(
    folder: Path, name: str, network: str, patch: list[int], labels: dict[str, int], features: list[int]
) -> tuple[str, float]:
    """A model folder with random weights; its path and the millions of its parameters.

    Args:
        folder: to write below.
        name: of the plans.
        network: of ours; its trainer has its name.
        patch: voxels of a window.
        labels: of its dataset.
        features: of the network's stages.
    """
    import torch
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_kits.training.trainers import trainer_class

    plans = bare_plans(name, {"3d_fullres": 1.0}) | {"dataset_name": f"Dataset900_{name}", "continue_training": False}
    plans["foreground_intensity_properties_per_channel"] = {
        "0": {"mean": 100.0, "std": 300.0, "percentile_00_5": -200.0, "percentile_99_5": 400.0}
    }
    configuration = plans["configurations"]["3d_fullres"]
    for kind in ("data", "seg", "probabilities"):
        configuration |= {f"resampling_fn_{kind}": "no_resampling_hack", f"resampling_fn_{kind}_kwargs": {}}
    configuration |= {"patch_size": patch, "batch_dice": False}
    configuration["architecture"] = architecture(network, features, network.endswith("25D"))
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    manager = PlansManager(plans)
    heads = manager.get_label_manager(dataset).num_segmentation_heads
    found = manager.get_configuration("3d_fullres")
    torch.manual_seed(0)
    made = trainer_class(f"{network}Trainer").build_network_architecture(manager, found, 1, heads, False)
    out = folder / f"{network}Trainer__{name}__3d_fullres"
    (out / "fold_0").mkdir(parents=True)
    (out / "plans.json").write_text(json.dumps(plans))
    (out / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {
        "network_weights": made.state_dict(),
        "trainer_name": f"{network}Trainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": (0,),
    }
    torch.save(checkpoint, out / "fold_0" / "checkpoint_final.pth")
    return str(out), sum(weights.numel() for weights in made.parameters()) / 1e6


def write_scan(folder: Path, case: int, size: str) -> tuple[str, str]:
    """A phantom whose labels are told by HU, and its label map; their files."""
    import numpy as np

    from nnunet_kits.images import write_volume
    from nnunet_kits.labels import Label
    from nnunet_kits.phantom.render import make_phantom

    phantom = make_phantom(case, 0, size)
    image = np.minimum(phantom.image, HU["tissue"]).astype(np.int16)
    for label in (Label.KIDNEY, Label.TUMOR, Label.CYST):
        image[phantom.label == label] = HU[label.name.lower()]
    files = folder / "case_0000.nii.gz", folder / "truth.nii.gz"
    for file, array in zip(files, (image, phantom.label.astype(np.uint8)), strict=True):
        write_volume(file, array, phantom.affine)
    print(f"phantom {case}: {image.shape} voxels, {np.count_nonzero(phantom.label)} of them labelled")
    return str(files[0]), str(files[1])


def write_system(folder: Path, small: bool) -> tuple[str, list[int], list[int]]:
    """The system's file, and the windows of its coarse and of its fine models."""
    from nnunet_kits.inference.system import SYSTEMS_FOLDER

    content = json.loads((SYSTEMS_FOLDER / "kits23_chenzhang.json").read_text())
    coarse, fine = [128, 128, 128], [48, 224, 384]
    if small:
        coarse, fine = [32, 32, 32], [8, 48, 64]
        content["stages"][0]["prepare"]["size"] = coarse
        content["stages"][1]["prepare"]["size"] = [None, *fine[1:]]
        content["postprocessing"] = None
    file = folder / "system.json"
    file.write_text(json.dumps(content))
    return str(file), coarse, fine


def measured(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Build all of it below a folder, and run it in an interpreter of its own."""
    system, coarse, fine = write_system(folder, options.small)
    image, truth = write_scan(folder, options.case, "tiny" if options.small else "full")
    features = SMALL_FEATURES if options.small else FEATURES
    organ = {"background": 0, "kidney": 1}
    lesions = {**organ, "tumor": 2, "cyst": 3, "ignore": 4}
    made = {
        "coarse": write_model(folder, "CoarsePlans", "StemResUNet", coarse, organ, features),
        "kidney": write_model(folder, "KidneyPlans", "StemResUNet25D", fine, organ, features),
        "lesions": write_model(folder, "LesionPlans", "StemResUNet25D", fine, lesions, features),
    }
    models = {key: path for key, (path, _) in made.items()}
    arguments = (json.dumps(models), image, truth, str(folder / "labels.nii.gz"), options.device, str(options.runs))
    told = told_by(PROGRAM, system, *arguments, json.dumps(HU), **environment(folder))
    return {
        "machine": machine(),
        "device": device_name(options.device),
        "parameters, millions": {key: round(count, 2) for key, (_, count) in made.items()},
        **told,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--case", type=int, default=0, help="number of the phantom (default: 0)")
    parser.add_argument("--runs", type=int, default=1, help="predict so often, and time the last (default: 1)")
    parser.add_argument("--small", action="store_true", help="small networks, sizes and phantom: does it work?")
    parser.add_argument("--out", type=Path, help="write what was measured as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), options)
    print(f"{found['machine']}; {found['device']}")
    print(f"parameters, millions: {found['parameters, millions']}; box {found['box']}; Dice {found['Dice']}")
    for phase, seconds in found["seconds"].items():
        print(f"{phase:22} {seconds:8.2f} s")
    print(f"{'all':22} {found['wall']:8.2f} s, and {found['loading']:.2f} s to load the models")
    print(
        f"memory {found['peak MB']:.0f} MB ({found['MB with models']:.0f} MB once the models are loaded, "
        f"{found['reckoned MB']:.0f} MB reckoned)"
    )
    if found["peak GPU MB"] is not None:
        print(f"GPU memory {found['peak GPU MB']:.0f} MB")
    if options.out:
        options.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
