"""Whether two versions of the package write the same: every verb's files, byte by byte or array by array.

    python benchmarks/outputs.py write OLD --demo DEMO [--trees TREES] [--label-maps LABEL_MAPS]   # with one version
    python benchmarks/outputs.py write NEW --demo DEMO [--trees TREES] [--label-maps LABEL_MAPS]   # with the other
    python benchmarks/outputs.py compare OLD NEW

``write`` runs the commands of the installation that runs it, and keeps what they write and print below a folder. DEMO
is the folder of a finished ``nnunet_kits demo --quick``: its models predict, so that both versions have the same
weights. TREES holds KiTS folders named ``tree19``, ``tree21``, ``tree23``. LABEL_MAPS holds ``kits19`` and ``kits23``,
two annotations of the same cases, one scored against the other. ``compare`` lists what differs; times, dates, versions
and folders in JSON files are left out of it, and of a report only its numbers count.
"""

import argparse
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from side_by_side import environment

YEARS = ("19", "21", "23")
IDS = {"19": 64, "21": 135, "23": 220}
DATASET = "Dataset220_KiTS2023"
PRESETS = ("KiTSDemoPlans", "KiTSCascadePlans", "KiTSZhangPlans", "KiTSChenJin2DPlans", "KiTSChenZhang25DPlans")
CHAINS = ("clean", "two_kidneys", "no_specks", "chen_zhang")
VOLATILE = {"version", "seconds", "date", "started", "created", "time", "host", "python", "versions", "stamp", "root"}
"""Keys of JSON files whose values change from run to run."""


class Runs:
    """Commands of this interpreter's installation, with nnU-Net's folders below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "printed.txt"
        self.environment = os.environ | environment(root) | {"nnUNet_def_n_proc": "1"}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def __call__(self, *words: object) -> None:
        """Run a command; go on when it fails, so that both versions' failures are compared too."""
        command = [str(word) for word in words]
        print("$", " ".join(command), flush=True)
        done = subprocess.run(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n{done.stdout}[{done.returncode}]\n")
        if done.returncode:
            print(done.stdout[-2000:])

    def kits(self, *words: object) -> None:
        """A verb of ours."""
        self("nnunet_kits", *words)


def write(root: Path, demo: Path, trees: Path | None, label_maps: Path | None) -> None:
    """Run every verb and keep what it writes."""
    if root.exists():
        shutil.rmtree(root)
    root.mkdir(parents=True)
    run = Runs(root)
    for year in YEARS:
        options = ("--year", year, "--cases", 3, "--test-cases", 1, "--size", "tiny", "--seed", 5)
        run.kits("phantom", root / f"phantom{year}", *options)
        source = trees / f"tree{year}" if trees else root / f"phantom{year}"
        run.kits("convert", "--year", year, source, "-np", 1, "--folds", 2)
    regions = ("--labels", "regions", "-d", 221, "--name", "Regions", "--folds", 2, "-np", 1)
    run.kits("convert", "--year", "23", root / "phantom23", *regions)
    for number in (IDS["19"], IDS["23"], 221):
        run("nnUNetv2_extract_fingerprint", "-d", number, "-np", 1)
        for preset in PRESETS:
            run.kits("plan", "-d", number, "--preset", preset)
        run.kits("preprocess", "-d", number, "-p", "KiTSDemoPlans", "-np", 1)
    run.kits("preprocess", "-d", IDS["23"], "-p", "KiTSChenJin2DPlans", "-np", 1)

    images, truth = demo / "nnUNet_raw" / DATASET / "imagesTs", demo / "phantoms_test_labels"
    models = sorted((demo / "nnUNet_results" / DATASET).glob("*__KiTSDemoPlans__*"))
    lowres, fine = (next(m for m in models if m.name.endswith(name)) for name in ("3d_lowres", "3d_cascade_fullres"))
    quick = ("--device", "cpu", "--no-mirroring", "--step", 0.75)
    predicted = root / "predicted"
    (root / "reports").mkdir()
    run.kits("predict", "-i", images, "-o", predicted / "boxes", "--fine", fine, *quick)
    run.kits("predict", "-i", images, "-o", predicted / "whole", "--fine", fine, "--whole-volume", *quick)
    mirrored = ("--device", "cpu", "--save-probabilities")
    run.kits("predict", "-i", images, "-o", predicted / "lowres", "--fine", lowres, *mirrored)
    for chain in CHAINS:
        run.kits("postprocess", predicted / "boxes", root / "postprocessed" / chain, "--chain", chain)
    for name in ("boxes", "whole", "lowres"):
        run.kits("evaluate", predicted / name, truth, "--year", "23", "-o", root / "scores" / name, "--hd95")
        run.kits("measure", predicted / name, "--images", images, "-o", root / "measured" / name)
        described = ("--images", images, "--predictions", predicted / name, "--references", truth)
        run.kits("report", *described, "-o", root / "reports" / f"{name}.html", "--model", fine, "--year", "23")
    bare = ("--images", images, "--predictions", predicted / "boxes", "-o", root / "reports" / "bare.html")
    run.kits("report", *bare)
    scores = [root / "scores" / name for name in ("boxes", "whole", "lowres")]
    run.kits("rank", *scores, "-o", root / "scores" / "ranking.csv")
    run.kits("compare", *scores[1:], "-o", root / "scores" / "compared.json")
    if label_maps:
        ours, theirs = label_maps / "kits19", label_maps / "kits23"
        options = ("--partly", "--bootstrap", 1000)
        run.kits("evaluate", ours, theirs, "--year", "23", "-o", root / "scores" / "annotations", *options)
        run.kits("measure", theirs, "-o", root / "measured" / "kits23")
        flat = root / "flat"
        flat.mkdir()
        for case in sorted(theirs.glob("case_*")):
            shutil.copy(case / "segmentation.nii.gz", flat / f"{case.name}.nii.gz")
        run.kits("postprocess", flat, root / "postprocessed" / "kits23", "--chain", "clean")
        chosen = ("--determine", "--predictions", flat, "--references", theirs, "--year", "23")
        run.kits("postprocess", *chosen, "--record", root / "determined", "--chains", "no_specks", "two_kidneys")


def compare(old: Path, new: Path) -> int:
    """Print what differs; the number of differences."""
    files = [sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file()) for root in (old, new)]
    differences = [f"{name}: only in {old}" for name in files[0] if name not in set(files[1])]
    differences += [f"{name}: only in {new}" for name in files[1] if name not in set(files[0])]
    same = {"byte by byte": 0, "by content": 0}
    for name in (name for name in files[0] if name in set(files[1]) and name.name != "printed.txt"):
        a, b = old / name, new / name
        if a.read_bytes() == b.read_bytes():
            same["byte by byte"] += 1
            continue
        found = list(_unequal(a, b, (old, new)))
        differences += [f"{name}: {line}" for line in found]
        same["by content"] += not found
    print(f"{same['byte by byte']} files equal byte by byte, {same['by content']} by content")
    print(*differences, sep="\n")
    print(f"{len(differences)} differences")
    return len(differences)


def _unequal(a: Path, b: Path, roots: tuple[Path, Path]) -> Iterator[str]:
    """What differs between two files of one kind."""
    if a.name.endswith((".nii.gz", ".nii")):
        x, y = nib.load(a), nib.load(b)
        if x.header.binaryblock != y.header.binaryblock:
            yield "headers differ"
        yield from _arrays(np.asanyarray(x.dataobj), np.asanyarray(y.dataobj))
    elif a.suffix == ".npz":
        with np.load(a) as x, np.load(b) as y:
            for key in sorted({*x.files, *y.files}):
                yield from _arrays(x[key], y[key])
    elif a.suffix == ".b2nd":
        import blosc2

        yield from _arrays(blosc2.open(urlpath=str(a), mode="r")[:], blosc2.open(urlpath=str(b), mode="r")[:])
    elif a.suffix == ".pkl":
        with a.open("rb") as x, b.open("rb") as y:
            yield from _values(_plain(pickle.load(x)), _plain(pickle.load(y)))
    elif a.suffix == ".json":
        texts = [p.read_text().replace(str(root), "ROOT") for p, root in zip((a, b), roots, strict=True)]
        yield from _values(*(json.loads(text) for text in texts))
    elif a.suffix == ".html":
        yield from _values(_numbers_of(a), _numbers_of(b))
    else:
        x, y = (p.read_bytes().replace(str(root).encode(), b"ROOT") for p, root in zip((a, b), roots, strict=True))
        if x != y:
            yield f"{len(x)} and {len(y)} bytes differ"


def _arrays(x: np.ndarray, y: np.ndarray) -> Iterator[str]:
    if x.shape != y.shape or x.dtype != y.dtype:
        yield f"{x.shape} {x.dtype}, {y.shape} {y.dtype}"
    elif not np.array_equal(x, y, equal_nan=x.dtype.kind == "f"):
        most = np.abs(x.astype(float) - y.astype(float)).max()
        yield f"{np.count_nonzero(x != y)} of {x.size} values differ, by {most:.3g} at most"


def _plain(value: Any) -> Any:
    """A pickle's content as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _values(x: Any, y: Any, at: str = "") -> Iterator[str]:
    if isinstance(x, dict) and isinstance(y, dict):
        for key in sorted({*x, *y} - VOLATILE, key=str):
            if key not in x or key not in y:
                yield f"{at}/{key}: only in the {'old' if key in x else 'new'} one"
            else:
                yield from _values(x[key], y[key], f"{at}/{key}")
    elif isinstance(x, list) and isinstance(y, list) and len(x) == len(y):
        for index, (one, other) in enumerate(zip(x, y, strict=True)):
            yield from _values(one, other, f"{at}[{index}]")
    elif x != y and not (x != x and y != y) and not _is_time(x, y):
        yield f"{at}: {str(x)[:300]} -> {str(y)[:300]}"


def _is_time(*values: Any) -> bool:
    """Whether values are times of files, in ns since 1970."""
    return all(isinstance(value, int) and value > 10**18 for value in values)


class _Cells(HTMLParser):
    """The texts of a page's table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in ("td", "th"):
            self.inside = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


def _numbers_of(page: Path) -> list[str]:
    """The numbers in a report's tables, in reading order."""
    reader = _Cells()
    reader.feed(page.read_text(encoding="utf-8"))
    return re.findall(r"-?\d+\.\d+|-?\d+", " | ".join(reader.cells))


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    writing = verbs.add_parser("write")
    writing.add_argument("folder", type=Path)
    writing.add_argument("--demo", type=Path, required=True)
    writing.add_argument("--trees", type=Path)
    writing.add_argument("--label-maps", type=Path)
    comparing = verbs.add_parser("compare")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    options = parser.parse_args()
    if options.verb == "write":
        write(options.folder.resolve(), options.demo.resolve(), options.trees, options.label_maps)
        return 0
    return min(1, compare(options.old.resolve(), options.new.resolve()))


if __name__ == "__main__":
    sys.exit(main())
