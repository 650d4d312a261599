"""Small files that ask for much memory: refused by name or served, in bounded memory."""

import gzip
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from forked import start
from kills import KILLED
from running import Run, copied, run_verb
from surroundings import VICTIMS, judged
from world import VICTIM

MEMBER = 64 * 2**20
EDGE = 1312
"""Voxels of 2 bytes cubed: 4.5 GB."""

MOST_BYTES = {"preprocess": 5 * 10**9, "others": 2 * 10**9}
"""More than this beyond what the process had at its start is not bounded; of predictions the guard says more.

``preprocess`` serves the volume, and reckons with what that takes before it begins."""


def volume_bomb(file: Path) -> None:
    """4.5 GB of zeros with a valid header, packed in a few MB: the same packed piece again and again."""
    head = bytearray(gzip.decompress(file.read_bytes())[:352])
    struct.pack_into("<8h", head, 40, 3, EDGE, EDGE, EDGE, 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, 4, 16)
    bytes_left = EDGE**3 * 2
    with file.open("wb") as out:
        out.write(gzip.compress(bytes(head)))
        piece = gzip.compress(bytes(MEMBER), 9)
        while bytes_left >= MEMBER:
            out.write(piece)
            bytes_left -= MEMBER
        out.write(gzip.compress(bytes(bytes_left)))


def header_bomb(file: Path) -> None:
    """A header that claims 3000 voxels cubed."""
    content = bytearray(gzip.decompress(file.read_bytes()))
    struct.pack_into("<8h", content, 40, 3, 3000, 3000, 3000, 1, 1, 1, 1)
    file.write_bytes(gzip.compress(bytes(content)))


NIFTI: dict[str, Callable[[Path], None]] = {
    "a volume of 4.5 GB packed in 5 MB": volume_bomb,
    "a header of 3000 voxels cubed": header_bomb,
}

JSON: dict[str, bytes] = {
    "lists nested a million deep": b"[" * 10**6,
    "objects nested a million deep": b'{"a":' * 10**6,
    "a list of 20 million numbers": b"[" + b"0," * (2 * 10**7) + b"0]",
    "a number of a million digits": b'{"labels": ' + b"9" * 10**6 + b"}",
    "a key of 50 MB": json.dumps({"k" * 5 * 10**7: 1}).encode(),
}

READ = {
    "predict": "nnUNet_results/Dataset220_KiTS2023/ResUNetTrainer__SmallPlans__3d_fullres/dataset.json",
    "derive": "rule.json",
    "preprocess": "nnUNet_raw/Dataset221_KiTS2023Small/dataset.json",
    "postprocess": "chain.json",
}
"""Verb -> a JSON file that it reads."""


def bombs(world: Path, scratch: Path, verb: str) -> Iterator[Run]:
    """All of them on one verb, with the memory that they took."""
    before = {file.relative_to(world) for file in world.rglob("*")}
    with copied(world, scratch):
        assert run_verb(KILLED[verb])[0] == 0
    for fault, make in NIFTI.items():
        yield _run(world, scratch, verb, VICTIMS[verb], fault, make, before, VICTIM)
    for fault, content in JSON.items() if verb in READ else ():
        victim = READ[verb]
        yield _run(world, scratch, verb, victim, fault, lambda file, c=content: file.write_bytes(c), before, victim)


def _run(
    world: Path,
    scratch: Path,
    verb: str,
    victim: str,
    fault: str,
    make: Callable[[Path], object],
    before: set[Path],
    name: str,
) -> Run:
    with copied(world, scratch) as root:
        make(root / victim)
        here = _peak("self")
        child = start(KILLED[verb], lambda: Path("/proc/self/clear_refs").write_text("5"))
        seen = 0

        def watched() -> None:
            nonlocal seen
            seen = max(seen, _peak(str(child.pid)) - here)

        child.watch = watched
        run = judged(verb, f"{fault} at {victim}", root, before, child)
        if run.code == 2 and name not in run.said:
            run.faults.append(f"NOT NAMED: {run.said[-500:]}")
        if seen > MOST_BYTES.get(verb, MOST_BYTES["others"]):
            run.faults.append(f"MEMORY: {seen / 1e9:.1f} GB")
        run.fault += f", {seen / 1e6:.0f} MB"
    return run


def _peak(process: str) -> int:
    """The most memory that a process has held, in bytes; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    field = "VmRSS" if process == "self" else "VmHWM"
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field)), 0)
