"""Every fault on every verb: ``python tests/faults/faults.py`` prints the table; ``test_faults.py`` runs a part."""

import argparse
import collections
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import json_faults  # noqa: E402
import nifti_faults  # noqa: E402
from running import Run, copied, judge, run_job, run_verb  # noqa: E402
from world import JOBS, JSON_VICTIMS, WRITTEN, Job, build  # noqa: E402

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
                    nifti_faults.EITHER,
                    lambda root, v=victim, c=content: (root / v).write_bytes(c),
                )
    for name, patterns in WRITTEN.items():
        with copied(world, scratch) as root:
            assert run_verb(JOBS[name].line)[0] == 0
            for file in sorted(file for pattern in patterns for file in root.glob(pattern)):
                victim = file.relative_to(root).as_posix()
                cases = list(json_changes(file.read_bytes()))
                job = Job(JOBS[name].line, victim, "json")
                for fault, content in cases:

                    def again(root: Path, line: str = job.line, victim: str = victim, content: bytes = content) -> None:
                        run_verb(line)
                        (root / victim).write_bytes(content)

                    yield f"{name}, again", f"{victim}: {fault}", job, nifti_faults.EITHER, again


def run_cases(cases: list[Case], world: Path, scratch: Path, shown: bool = False) -> list[Run]:
    """Run them, each beside the same job on whole files."""
    whole: dict[str, Run] = {}
    runs = []
    for name, fault, job, expected, change in cases:
        plain = name.removesuffix(", again")
        if plain not in whole:
            whole[plain] = run_job(world, scratch, plain, JOBS[plain], "none", lambda _: None)
            assert whole[plain].code == 0, whole[plain].said
        runs.append(judge(run_job(world, scratch, name, job, fault, change), job, expected, whole[plain]))
        if shown and runs[-1].faults:
            print(f"{name} | {fault} | {'; '.join(runs[-1].faults)[:400]}", flush=True)
    return runs


def table(runs: list[Run]) -> str:
    """Outcomes by job, as a table in Markdown."""
    kinds = sorted({run.outcome for run in runs} | {"served", "refused"})
    counts = collections.Counter((run.job, run.outcome) for run in runs)
    lines = [f"| verb | runs | {' | '.join(kinds)} |", "|---" * (len(kinds) + 2) + "|"]
    for job in dict.fromkeys(run.job for run in runs):
        numbers = [counts[job, kind] for kind in kinds]
        lines.append(f"| {job} | {sum(numbers)} | {' | '.join(map(str, numbers))} |")
    totals = [sum(run.outcome == kind for run in runs) for kind in kinds]
    return "\n".join([*lines, f"| all | {len(runs)} | {' | '.join(map(str, totals))} |"])


def main() -> int:
    """Run all of them, or a share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the faults, drawn at random (default: all)")
    parser.add_argument("--only", choices=("nifti", "json"))
    parser.add_argument("--job", help="only jobs whose name holds this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world, scratch = build(Path(folder) / "world"), Path(folder) / "run"
        cases = [] if options.only == "json" else list(nifti_cases())
        cases += [] if options.only == "nifti" else list(json_cases(world, scratch))
        cases = [case for case in cases if not options.job or options.job in case[0]]
        if options.share < 1:
            cases = random.Random(0).sample(cases, round(options.share * len(cases)))
        runs = run_cases(cases, world, scratch, shown=True)
    print(table(runs))
    return int(any(run.faults for run in runs))


if __name__ == "__main__":
    sys.exit(main())
