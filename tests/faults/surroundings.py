"""What lies around a run: another run on the folder, names, links, locales, readers that go away, closed folders."""

import os
import shutil
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from disks import small_disk
from forked import CHOKED, Child, start
from kills import KILLED, half_written
from running import Run, copied, run_verb
from world import CASES, VICTIM, results

FILE_VERBS = ("predict", "postprocess", "evaluate", "measure", "report")
"""Verbs that take files of any name."""

NAMES = {
    "a comma": "case, the second",
    "a newline": "case\nthe second",
    "an umlaut": "nierentumör",
    "a decomposed umlaut": unicodedata.normalize("NFD", "nierentumör"),
    "spaces": " case 1 ",
    "a leading dash": "-o",
    "quotes": "case\"1'",
    "a formula": "=1+1",
    "markup": "<b>case",
    "a shell's words": "$(touch x);`y`",
    "percent and braces": "%s{0}{{case}}",
    "Chinese": "肾肿瘤",
    "bytes that are no UTF-8": os.fsdecode(b"case\xff\xfe"),
    "200 letters": "c" * 200,
    "another case of letters": CASES[0].upper(),
    "dots": "case..1",
}


def judged(verb: str, fault: str, root: Path, before: set[Path], child: Child, codes: tuple[int, ...] = (0, 2)) -> Run:
    """How a run ended, without its results."""
    run = Run(verb, fault, child.end(), child.said(), {})
    if run.code is None:
        run.faults.append("HUNG")
    elif run.code == CHOKED or "Traceback" in run.said:
        run.faults.append(f"TRACEBACK: {run.said[-1500:]}")
    elif run.code not in codes:
        run.faults.append(f"EXIT CODE: {run.code}: {run.said[-500:]}")
    elif run.code == 2 and "nnunet_kits: error: " not in run.said:
        run.faults.append(f"NOTHING SAID: {run.said[-500:]}")
    run.faults += half_written(root, before)
    return run


def compare(run: Run, root: Path, before: set[Path], whole: dict) -> Run:
    """Note what a run left other than the undisturbed one."""
    try:
        left = results(root, before)
    except Exception as damage:
        run.faults.append(f"HALF-WRITTEN: {damage}")
        return run
    others = [name for name in {**whole, **left} if left.get(name, 1) != whole.get(name, 1)]
    run.faults += [f"OTHER RESULT: {', '.join(sorted(others))}"] * bool(others)
    return run


def undisturbed(world: Path, scratch: Path, verb: str) -> tuple[dict, set[Path]]:
    """What the verb leaves, and what lay there before."""
    before = {file.relative_to(world) for file in world.rglob("*")}
    with copied(world, scratch) as root:
        code, said = run_verb(KILLED[verb])
        assert code == 0, said
        return results(root, before), before


def two_at_once(world: Path, scratch: Path, verb: str, pauses: tuple[float, ...] = (0.0, 0.05)) -> Iterator[Run]:
    """Two runs of a verb on one folder; each ends well or says why not, and a third has the result."""
    whole, before = undisturbed(world, scratch, verb)
    for pause in pauses:
        with copied(world, scratch) as root:
            one = start(KILLED[verb])
            other = start(KILLED[verb], lambda pause=pause: time.sleep(pause))
            run = judged(verb, f"two at once, {pause} s apart", root, before, one)
            run.faults += judged(verb, "", root, before, other).faults
            third = judged(verb, "", root, before, start(KILLED[verb]), codes=(0,))
            run.faults += [f"AFTERWARDS {fault}" for fault in third.faults]
            yield compare(run, root, before, whole)


def nobody_listens(world: Path, scratch: Path, verb: str) -> Iterator[Run]:
    """Standard output is a pipe that its reader has closed, or a full device; the same command again has the result."""
    whole, before = undisturbed(world, scratch, verb)

    def closed() -> None:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)

    def full() -> None:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    for fault, prepare in {"a closed pipe": closed, "/dev/full": full}.items():
        with copied(world, scratch) as root:
            run = judged(verb, fault, root, before, start(KILLED[verb], prepare), (0, 2, 141))
            again = judged(verb, "", root, before, start(KILLED[verb]), codes=(0,))
            run.faults += again.faults
            yield compare(run, root, before, whole)


def renamed(root: Path, name: str) -> None:
    """Give the files of a case another name, wherever a verb takes files of any name."""
    for file in [*root.glob(f"cts/{VICTIM}*"), *root.glob(f"labels/{VICTIM}*"), *root.glob(f"references/{VICTIM}*")]:
        file.rename(file.with_name(name + file.name.removeprefix(VICTIM)))


def odd_names(world: Path, scratch: Path, verb: str, names: dict[str, str] = NAMES) -> Iterator[Run]:
    """A case of an odd name: served as under its own, or refused by name."""
    whole, before = undisturbed(world, scratch, verb)
    for fault, name in names.items():
        with copied(world, scratch) as root:
            renamed(root, name)
            now = before | {file.relative_to(root) for file in root.rglob("*")}
            run = judged(verb, f"a name with {fault}", root, now, start(KILLED[verb]))
            if run.code == 0:
                left = _under_its_own_name(results(root, now), name)
                expected = _under_its_own_name(whole, VICTIM)
                expected, left = (
                    {key: value for key, value in found.items() if not key.endswith(".html")}
                    for found in (expected, left)
                )
                run.faults += [f"OTHER RESULT: {left} {expected}"[:2000]] * (left != expected)
            yield run


def _under_its_own_name(content: object, name: str) -> object:
    """A result with one word for the case's name, and in no order but that of the content."""
    if isinstance(content, dict):
        return {str(_under_its_own_name(key, name)): _under_its_own_name(content[key], name) for key in content}
    if isinstance(content, list):
        return sorted((_under_its_own_name(value, name) for value in content), key=repr)
    return content.replace(name, "CASE") if isinstance(content, str) else content


LINKS: dict[str, Callable[[Path], None]] = {
    "a link to itself": lambda file: file.symlink_to(file.name),
    "a dangling link": lambda file: file.symlink_to("nowhere"),
    "a folder": lambda file: file.mkdir(),
    "a named pipe": os.mkfifo,
    "a link to an endless device": lambda file: file.symlink_to("/dev/zero"),
}


def odd_files(world: Path, scratch: Path, verb: str, victim: str) -> Iterator[Run]:
    """Something else than a file in a file's place: the case is refused by name."""
    before = {file.relative_to(world) for file in world.rglob("*")}
    for fault, make in LINKS.items():
        with copied(world, scratch) as root:
            (root / victim).unlink()
            make(root / victim)
            run = judged(verb, f"{fault} at {victim}", root, before, start(KILLED[verb]), (2,))
            if run.code == 2 and VICTIM not in run.said:
                run.faults.append(f"NOT NAMED: {run.said[-500:]}")
            yield run


def closed_folders(world: Path, scratch: Path, verb: str) -> Iterator[Run]:
    """Everything on a file system that may only be read; needs the right to mount one."""
    before = {file.relative_to(world) for file in world.rglob("*")}
    with small_disk(scratch) as mounted:
        if not mounted:
            return
        with copied(world, scratch / "run") as root:
            subprocess.run(["mount", "-o", "remount,ro", str(scratch)], check=True)
            try:
                run = judged(verb, "a read-only disk", root, before, start(KILLED[verb]), (2,))
                if "ead-only" not in run.said:
                    run.faults.append(f"NOT TOLD: {run.said[-500:]}")
            finally:
                subprocess.run(["mount", "-o", "remount,rw", str(scratch)], check=True)
            yield run


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def odd_locales(world: Path, scratch: Path, verb: str) -> Iterator[Run]:
    """An ASCII locale, in a folder and with a case of umlauts: the result is the same."""
    for name in ("an umlaut", "a newline"):
        results_of = []
        for more in ({}, ASCII):
            with copied(world, scratch / "größer") as root:
                renamed(root, NAMES[name])
                before = {file.relative_to(root) for file in root.rglob("*")}
                command = [sys.executable, "-m", "nnunet_kits.cli.main", *KILLED[verb].split()]
                done = subprocess.run(
                    command, env={**os.environ, **more}, capture_output=True, text=True, errors="replace", check=False
                )
                run = Run(verb, f"an ASCII locale and {name}", done.returncode, done.stderr, {})
                if "Traceback" in done.stderr:
                    run.faults.append(f"TRACEBACK: {done.stderr[-1500:]}")
                run.faults += half_written(root, before)
                left = results(root, before)  # records hold paths as the locale reads them
                results_of.append({name: content for name, content in left.items() if not name.endswith(".json")})
        refused = (
            run.code == 2 and "nnunet_kits: error: " in run.said
        )  # for a name that cannot be read, or a line break
        if not refused and (results_of[0] != results_of[1] or run.code != 0):
            run.faults.append(f"OTHER RESULT: {run.said[-1000:]}")
        yield run


VICTIMS = {
    "convert": f"kits/dataset/{VICTIM}/imaging.nii.gz",
    "derive": f"nnUNet_raw/Dataset221_KiTS2023Small/labelsTr/{VICTIM}.nii.gz",
    "preprocess": f"nnUNet_raw/Dataset221_KiTS2023Small/imagesTr/{VICTIM}_0000.nii.gz",
    "predict": f"cts/{VICTIM}_0000.nii.gz",
    "postprocess": f"labels/{VICTIM}.nii.gz",
    "evaluate": f"references/{VICTIM}.nii.gz",
    "measure": f"labels/{VICTIM}.nii.gz",
    "report": f"labels/{VICTIM}.nii.gz",
}


def around(world: Path, scratch: Path, verb: str) -> Iterator[Run]:
    """All of it on one verb."""
    yield from two_at_once(world, scratch, verb)
    yield from nobody_listens(world, scratch, verb)
    yield from odd_files(world, scratch, verb, VICTIMS[verb])
    yield from closed_folders(world, scratch.with_name("disk"), verb)
    if verb in FILE_VERBS:
        yield from odd_names(world, scratch, verb)
        yield from odd_locales(world, scratch, verb)
    shutil.rmtree(scratch, ignore_errors=True)
