"""What can be wrong with a file of a DICOM series: its bytes, and the value of each of its elements."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from dicom_series import write_enhanced, write_series
from kills import half_written
from kits_trees import labels_of
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from running import Run, copied, run_verb

from nnunet_kits.images import choose_series, find_series, series_grid, write_volume

VERBS = {
    "series": "series {world}/ct --json",
    "measure DICOM": "measure {world}/ct.nii.gz --images {world}/ct -o out",
    "dicom": "dicom {world}/ct.nii.gz {world}/ct -o out --rtstruct",
}
WORLDS = ("classic", "enhanced")

TEXTS = (b"", b"word", b"-1", b"0", b"nan ", b"1e400 ", b"1\\2 ", b"1\\2\\3\\4\\5\\6\\7 ", b"\xff\xfe", b"99999999999 ")
NUMBERS = (b"", b"\0\0", b"\xff\xff", b"\0" * 8, b"\xff" * 8, b"\0" * 16)


def build(root: Path) -> Path:
    """A classic and an enhanced series, each with a label map on its grid."""
    labels = np.ascontiguousarray(labels_of(1, "23"))
    voxels = np.random.default_rng(0).integers(-1000, 1500, labels.shape).astype(np.int16)
    for name in WORLDS:
        folder = root / name / "ct"
        write_series(folder, voxels) if name == "classic" else write_enhanced(folder / "all.dcm", voxels)
        grid = series_grid(choose_series(find_series(folder)))
        write_volume(root / name / "ct.nii.gz", labels, grid.affine)
    return root


def changed(file: Path, draw: random.Random) -> str:
    """Change a file at random; says how."""
    content = bytearray(file.read_bytes())
    kind = draw.choice(("bytes", "element", "element", "element", "no element"))
    if kind == "bytes":
        kind, header = draw.choice(("cut", "flipped", "many bytes", "empty", "zeros", "more at the end")), 3000
        if kind == "cut":
            del content[draw.randrange(len(content)) :]
        elif kind in ("flipped", "many bytes"):
            for _ in range(1 if kind == "flipped" else 20):
                content[draw.randrange(min(len(content), header))] ^= 1 << draw.randrange(8)
        elif kind == "more at the end":
            content += draw.randbytes(500)
        else:
            content = bytearray(len(content) if kind == "zeros" else 0)
        file.write_bytes(content)
        return kind
    made = pydicom.dcmread(file)
    owner, tag = draw.choice(list(_places(made)))
    element = owner[tag]
    value = draw.choice(NUMBERS if element.VR in ("US", "SS", "UL", "SL", "FD", "FL", "OB", "OW") else TEXTS)
    if kind == "no element":
        del owner[tag]
    else:
        owner[tag] = RawDataElement(element.tag, element.VR, len(value), value, 0, False, True)
    made.save_as(file)
    return f"{element.keyword} " + ("missing" if kind == "no element" else f"is {value[:20]!r}")


def _places(made: Dataset) -> Iterator[tuple[Dataset, int]]:
    """Every element, and the data set that it stands in."""
    for element in made:
        yield made, element.tag
        if element.VR == "SQ":
            for item in element.value:
                yield from _places(item)


def mutated(root: Path, scratch: Path, times: int, draw: random.Random, verb_part: str = "") -> Iterator[Run]:
    """Every verb on so many changed series."""
    before = {file.relative_to(root) for file in root.rglob("*")}
    verbs = {verb: line for verb, line in VERBS.items() if verb_part in verb}
    for _ in range(times):
        world = draw.choice(WORLDS)
        with copied(root, scratch) as folder:
            victim = draw.choice(sorted((folder / world / "ct").iterdir()))
            fault = f"{world}: {changed(victim, draw)}"
            for verb, line in verbs.items():
                yield _run(verb, line.format(world=world), fault, folder, before)


def _run(verb: str, line: str, fault: str, folder: Path, before: set[Path]) -> Run:
    start = time.monotonic()
    code, said = run_verb(line)
    run = Run(verb, fault, code, said, {}, seconds=time.monotonic() - start)
    if code is None:
        run.faults.append("HUNG" if "HUNG" in said else f"TRACEBACK: {said.strip().splitlines()[-1]}")
    elif code not in (0, 2):
        run.faults.append(f"EXIT CODE: {code}")
    elif "Traceback" in said:
        run.faults.append("TRACEBACK: shown")
    elif code == 2 and "nnunet_kits: error: " not in said:
        run.faults.append("NOTHING SAID")
    run.faults += half_written(folder, before)
    return run
