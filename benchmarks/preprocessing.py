"""Preprocessing against nnU-Net's own, in one run: seconds, CPU seconds, peak memory, and whether all is equal.

    python benchmarks/preprocessing.py FOLDER --year 23 --cases 00003 00418 00000

Each case is preprocessed from its file to the saved arrays by nnU-Net's DefaultPreprocessor and by ours, one after the
other, each in an interpreter of its own, at the two spacings of KiTSCascadePlans. Then both commands' own code runs
over all cases with one worker. Ratios are nnU-Net's over ours.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from side_by_side import environment, machine, told_by
from trainers import bare_plans

from nnunet_kits.conversion.convert import convert
from nnunet_kits.conversion.settings import Settings
from nnunet_kits.releases import RELEASES

CASE = """
import json, pickle, resource, sys, time
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from nnunet_kits.preprocessing.preprocessor import FastPreprocessor
which, plans, configuration, dataset, image, label, out = sys.argv[1:]
base = {"nnunet": DefaultPreprocessor, "ours": FastPreprocessor}[which]
spent = {}
class Timed(base):
    def timed(self, name, *arguments):
        start = time.perf_counter()
        result = getattr(super(), name)(*arguments)
        spent[name] = time.perf_counter() - start
        return result
    def run_case_npy(self, *arguments):
        return self.timed("run_case_npy", *arguments)
    def _normalised_case(self, *arguments):  # what our run_case calls
        return self.timed("_normalised_case", *arguments)
    def _resampled_case(self, *arguments):
        return self.timed("_resampled_case", *arguments)
    def run_case(self, *arguments):
        return self.timed("run_case", *arguments)
worker = Timed(verbose=False) if which == "nnunet" else Timed()
manager = PlansManager(plans)
found = manager.get_configuration(configuration)
found.resampling_fn_data, found.resampling_fn_seg, manager.image_reader_writer_class  # looked up once, not timed
before = resource.getrusage(resource.RUSAGE_SELF)
start = time.perf_counter()
worker.run_case_save(out, [image], label, manager, found, json.load(open(dataset)))
wall = time.perf_counter() - start
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
parts = ("run_case_npy",) if which == "nnunet" else ("_normalised_case", "_resampled_case")
middle = sum(spent[part] for part in parts)
print(json.dumps({
    "read": spent["run_case"] - middle, "preprocess": middle,
    "save": wall - spent["run_case"], "wall": wall, "cpu": cpu, "peak": after.ru_maxrss / 1e6,
    "idle": before.ru_maxrss / 1e6,
}))
"""

COMMAND = """
import json, resource, sys, time
start = time.perf_counter()
which, number, plans, configuration = sys.argv[1:]
if which == "nnunet":
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess
    preprocess([int(number)], plans, [configuration], [1])
else:
    from nnunet_kits.preprocessing.dataset import preprocess_dataset
    preprocess_dataset(int(number), plans, [configuration], workers=1)
own, below = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
cpu = own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime
peak = max(own.ru_maxrss, below.ru_maxrss) / 1e6
print(json.dumps({"wall": time.perf_counter() - start, "cpu": cpu, "peak": peak}))
"""

COMPARE = """
import json, pickle, sys
import blosc2, numpy as np
a, b = sys.argv[1:]
image = [blosc2.open(path + ".b2nd", mode="r") for path in (a, b)]
labels = [blosc2.open(path + "_seg.b2nd", mode="r") for path in (a, b)]
kept = [pickle.load(open(path + ".pkl", "rb")) for path in (a, b)]
places = [properties.pop("class_locations") for properties in kept]
apart = max(float(np.abs(image[0][:, z] - image[1][:, z]).max()) for z in range(image[0].shape[1]))
same = all(np.array_equal(labels[0][:, z], labels[1][:, z]) for z in range(labels[0].shape[1]))
drawn = places[0].keys() == places[1].keys() and all(np.array_equal(places[0][k], places[1][k]) for k in places[0])
print(json.dumps({
    "apart": apart, "labels": same, "locations": drawn, "properties": str(kept[0]) == str(kept[1]),
    "shape": image[0].shape[1:], "chunks": image[0].chunks == image[1].chunks and image[0].blocks == image[1].blocks,
}))
"""

SPACINGS = {"3d_fullres": 0.78, "3d_lowres": 1.99}
PLANS = "BenchmarkPlans"


def ratios(stock: dict[str, Any], ours: dict[str, Any], names: tuple[str, ...]) -> str:
    """One line: both figures and their ratio, for each name."""
    return "  ".join(f"{n} {stock[n]:.2f} / {ours[n]:.2f} = {stock[n] / max(ours[n], 1e-9):.1f}x" for n in names)


def measure_cases(dataset: Path, preprocessed: Path, work: Path, repeats: int) -> None:
    """Each case at each spacing, nnU-Net and ours in turn."""
    for label in sorted((dataset / "labelsTr").iterdir()):
        case = label.name.removesuffix(".nii.gz")
        image = dataset / "imagesTr" / f"{case}_0000.nii.gz"
        for configuration, spacing in SPACINGS.items():
            given = [str(preprocessed / f"{PLANS}.json"), configuration, str(dataset / "dataset.json")]
            for _ in range(repeats):
                out = {which: str(work / f"{which}_{case}") for which in ("nnunet", "ours")}
                stock, ours = (told_by(CASE, which, *given, str(image), str(label), out[which]) for which in out)
                equal = told_by(COMPARE, *out.values())
                print(f"{case} at {spacing} mm, {equal.pop('shape')} voxels")
                print("  ", ratios(stock, ours, ("wall", "cpu", "peak")), f"(GB; before the case {ours['idle']:.2f})")
                print("  ", ratios(stock, ours, ("read", "preprocess", "save")))
                apart = equal.pop("apart")
                print(f"   images differ by {apart:.1e} at most; equal: {equal}", flush=True)
                for path in work.glob("*_case_*"):
                    path.unlink()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--year", choices=("19", "21", "23"), default="23")
    parser.add_argument("--cases", nargs="+", help="default: all")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--skip-command", action="store_true", help="measure single cases only")
    parser.add_argument("--skip-cases", action="store_true", help="measure the whole command only")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ.update(environment(work))
        (work / "tree").mkdir()
        for case in sorted(options.folder.glob("case_*")):
            if not options.cases or case.name.removeprefix("case_") in options.cases:
                (work / "tree" / case.name).symlink_to(case.resolve())
        made = convert(Settings(RELEASES[options.year], work / "tree", work / "nnUNet_raw", workers=1))
        preprocessed = work / "nnUNet_preprocessed" / made.dataset.name
        preprocessed.mkdir()
        (preprocessed / f"{PLANS}.json").write_text(
            json.dumps(bare_plans(PLANS, SPACINGS) | {"dataset_name": made.dataset.name})
        )
        (preprocessed / "dataset.json").write_bytes((made.dataset / "dataset.json").read_bytes())
        if not options.skip_cases:
            measure_cases(made.dataset, preprocessed, work, options.repeats)
        if not options.skip_command:
            number = made.dataset.name[7:10]
            for configuration, spacing in SPACINGS.items():
                stock, ours = (told_by(COMMAND, which, number, PLANS, configuration) for which in ("nnunet", "ours"))
                print(f"the whole command, {len(made.cases)} cases, one worker, {spacing} mm")
                print("  ", ratios(stock, ours, ("wall", "cpu", "peak")), flush=True)


if __name__ == "__main__":
    main()
