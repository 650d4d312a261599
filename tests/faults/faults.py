"""Every fault on every verb: ``python tests/faults/faults.py`` prints the table; ``test_faults.py`` runs a part."""

import argparse
import collections
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", nnUNet_def_n_proc="1")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import bombs  # noqa: E402
import dicom_faults  # noqa: E402
import disks  # noqa: E402
import json_faults  # noqa: E402
import kills  # noqa: E402
import nifti_faults  # noqa: E402
import surroundings  # noqa: E402
from running import Run, copied, judge, run_job, run_verb  # noqa: E402
from surroundings import FILE_VERBS, VICTIMS  # noqa: E402
from world import JOBS, JSON_VICTIMS, WRITTEN, Job, build  # noqa: E402

from nnunet_kits.cases.records import Journal  # noqa: E402

Case = tuple[str, str, Job, str, Callable[[Path], None]]
"""Job, fault, the job itself, what must come of it, and what changes the world."""


def nifti_cases() -> Iterator[Case]:
    """Every mutation of a NIfTI file, on every verb that reads one."""
    for name, job in JOBS.items():
        for fault, mutation in nifti_faults.FAULTS.items():

            def change(root: Path, job: Job = job, mutation: nifti_faults.Fault = mutation) -> None:
                nifti_faults.apply(mutation, root / job.victim)

            yield name, fault, job, getattr(mutation, job.kind), change


def json_changes(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Every mutation of a JSON file: name, and the bytes in its place."""
    for name in json_faults.WHOLE:
        yield name, json_faults.whole(content, name)
    document = json.loads(content)
    for path in json_faults.places(document):
        where = ".".join(map(str, path))
        yield f"no {where}", json.dumps(json_faults.without(document, path)).encode()
        for name, value in json_faults.VALUES.items():
            yield f"{where} is {name}", json.dumps(json_faults.replaced(document, path, value)).encode()


def json_cases(world: Path, scratch: Path) -> Iterator[Case]:
    """Every mutation of the JSON files that the verbs read, and of those that they left when they ran before."""
    for victim, names in JSON_VICTIMS.items():
        for name in names:
            job = Job(JOBS[name].line, victim, "json")
            for fault, content in json_changes((world / victim).read_bytes()):
                yield (
                    name,
                    f"{victim}: {fault}",
                    job,
                    nifti_faults.OTHER,
                    lambda root, v=victim, c=content: (root / v).write_bytes(c),
                )
    for name, patterns in WRITTEN.items():
        after = scratch.with_name(f"{scratch.name} after {name}")
        with copied(world, scratch) as root:
            assert run_verb(JOBS[name].line)[0] == 0
            shutil.copytree(root, after, symlinks=True, dirs_exist_ok=True)
        for file in sorted(file for pattern in patterns for file in after.glob(pattern)):
            job = Job(JOBS[name].line, file.relative_to(after).as_posix(), "json")
            for fault, content in json_changes(file.read_bytes()):

                def again(root: Path, after: Path = after, victim: str = job.victim, content: bytes = content) -> None:
                    shutil.copytree(after, root, symlinks=True, dirs_exist_ok=True)
                    (root / victim).write_bytes(content)

                yield f"{name}, again", f"{job.victim}: {fault}", job, nifti_faults.EITHER, again


WHOLE: dict[tuple[Path, str], Run] = {}
"""Folder and job -> the job on whole files there."""


def run_cases(cases: list[Case], world: Path, scratch: Path) -> list[Run]:
    """Run them, each beside the same job on whole files."""
    runs = []
    for name, fault, job, expected, change in cases:
        plain = name.removesuffix(", again")
        if (scratch, plain) not in WHOLE:
            WHOLE[scratch, plain] = run_job(world, scratch, plain, JOBS[plain], "none", lambda _: None)
            assert WHOLE[scratch, plain].code == 0, WHOLE[scratch, plain].said
        runs.append(judge(run_job(world, scratch, name, job, fault, change), job, expected, WHOLE[scratch, plain]))
        runs[-1].left = {}
    return runs


def drawn(cases: Iterable[Case], most: int | None) -> list[Case]:
    """At most so many of each job, drawn at random, the same ones every time; a file that is wrong as a whole first."""
    by_job: dict[str, list[Case]] = {}
    for case in cases:
        by_job.setdefault(case[0], []).append(case)
    draw = random.Random(0)
    return [case for own in by_job.values() for case in draw.sample(own, min(len(own), most or len(own)))]


def mutated(cases: list[Case], world: Path, scratch: Path, journal: Journal | None) -> Iterator[Run]:
    """Run those that the journal does not hold yet, and give all of them."""
    for case in cases:
        key = f"{case[0]}|{case[1]}"
        if journal is not None and key in journal.results:
            code, faults = journal.results[key]
            yield Run(case[0], case[1], code, "", {}, faults)
            continue
        (run,) = run_cases([case], world, scratch)
        if journal is not None:
            journal.add(key, [run.code, run.faults])
        yield run


KINDS = (
    *("mutated NIfTI", "mutated JSON", "mutated DICOM", "SIGKILL", "full disk", "files that may not grow"),
    "two at once",
    *("closed output", "no file in a file's place", "read-only disk", "odd names", "ASCII locale", "bombs"),
)


def runs_of(kind: str, options: argparse.Namespace, world: Path, folder: Path) -> Iterator[Run]:
    """All faults of a kind, on every verb that they concern."""
    scratch, disk, draw = folder / "run", folder / "disk", random.Random(options.seed)
    verbs = [verb for verb in kills.KILLED if options.job in verb]
    own = [verb for verb in verbs if verb in VICTIMS]
    named = [verb for verb in verbs if verb in FILE_VERBS]
    if kind == "mutated DICOM":
        series = dicom_faults.build(folder / "series")
        yield from dicom_faults.mutated(series, scratch, options.dicom, draw, options.job)
    elif kind.startswith("mutated"):
        cases = nifti_cases() if kind == "mutated NIfTI" else json_cases(world, scratch)
        chosen = drawn((case for case in cases if options.job in case[0]), options.most)
        yield from mutated(chosen, world, scratch, Journal(options.journal) if options.journal else None)
    elif kind == "SIGKILL":
        for verb in verbs:
            yield from kills.kill_verb(world, scratch, verb, options.kills.get(verb, options.kills["each"]), draw)
    elif kind == "no file in a file's place":
        for verb in own:
            yield from surroundings.odd_files(world, scratch, verb, VICTIMS[verb])
    else:
        function, chosen_verbs, place = {
            "full disk": (disks.on_full_disks, own, disk),
            "files that may not grow": (disks.with_small_files, own, scratch),
            "two at once": (surroundings.two_at_once, own, scratch),
            "closed output": (surroundings.nobody_listens, own, scratch),
            "read-only disk": (surroundings.closed_folders, own, disk),
            "odd names": (surroundings.odd_names, named, scratch),
            "ASCII locale": (surroundings.odd_locales, named, scratch),
            "bombs": (bombs.bombs, own, scratch),
        }[kind]
        for verb in chosen_verbs:
            yield from function(world, place, verb)


def table(runs: list[Run], by: Callable[[Run], str], title: str) -> str:
    """Outcomes as a table in Markdown."""
    counts = collections.Counter((by(run), run.outcome if not run.faults else "defect") for run in runs)
    lines = [f"| {title} | runs | right result | refused in one line | defects |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(by(run) for run in runs):
        numbers = [counts[name, outcome] for outcome in ("served", "refused", "defect")]
        lines.append(f"| {name} | {sum(numbers)} | {' | '.join(map(str, numbers))} |")
    total = [sum(counts[key] for key in counts if key[1] == outcome) for outcome in ("served", "refused", "defect")]
    return "\n".join([*lines, f"| all | {len(runs)} | {' | '.join(map(str, total))} |"])


def main() -> int:
    """Run all of them, or a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=KINDS, nargs="+", default=KINDS)
    parser.add_argument("--job", default="", help="only verbs whose name holds this")
    parser.add_argument("--most", type=int, help="mutated files of a job, drawn at random (default: all)")
    parser.add_argument("--dicom", type=int, default=200, help="mutated DICOM series, three verbs on each")
    parser.add_argument("--kills", type=int, default=6, help="of each verb; of train 4, of cascade 2")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--journal", type=Path, help="file of outcomes of mutated files, so that a stopped run goes on")
    options = parser.parse_args()
    options.kills = {"each": options.kills, "train": min(4, options.kills), "cascade": min(2, options.kills)}
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        world = build(Path(folder) / "world")
        for kind in options.only:
            for run in runs_of(kind, options, world, Path(folder)):
                run.kind = kind
                runs.append(run)
                if run.faults:
                    print(f"{kind} | {run.job} | {run.fault} | {'; '.join(run.faults)[:2000]}", flush=True)
                print(f"{len(runs)}: {kind}, {run.job}, {run.fault[:80]}", end="\r", file=sys.stderr)
    print("\n" + table(runs, lambda run: run.kind, "fault") + "\n")
    print(table(runs, lambda run: run.job.removesuffix(", again").split()[0], "verb"))
    return int(any(run.faults for run in runs))


if __name__ == "__main__":
    sys.exit(main())
