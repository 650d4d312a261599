"""What no CPU can tell, side by side with stock nnU-Net in one run of eight minutes on a bare machine with a GPU.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --parts train --minutes 9
    python benchmarks/gpu.py --device cpu --small

predict  seconds, peak GPU and host memory of whole processes on a full-size CT, a cascade of networks of 32 to 320
         features: nnU-Net's two commands, ours on the whole volume, ours coarse to fine
agree    what CUDA says against the CPU: a prediction, and the losses of training steps with every network and loss
train    milliseconds of an iteration, and what they make of an epoch of 250: ResUNet at 128^3 and nnU-Net's ResEnc L at
         the patch of its 24 GB plans, on one fixed batch and out of a loader of 2, 4 and 8 processes, stock's and ours

Nothing is needed but the package: the data are phantoms, see ``gpu_data.py``, and the cascade is trained on them for a
minute, see ``gpu_models.py``. Results are printed and written to --out as soon as they are there. What there is no
time for is left out and named: --parts gives the whole time to a few.
"""

import argparse
import datetime
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gpu_data import FULL, HELD_OUT, ITERATIONS_PER_EPOCH, LABELS, PLANS, RESENC_PLANS, SMALL, make_data, preprocess
from side_by_side import device_name, dice, environment, machine
from trainers import DATASET

from nnunet_kits.atomic import write_text

LIMITS = {"data": 110, "models": 80, "predict": 230, "agree": 60, "train": 480}
"""Part -> seconds that it may take of eight minutes, in the order in which they run."""

LEAST = {"data": 0, "models": 0, "predict": 0, "agree": 40, "train": 90}
"""Part -> seconds of eight minutes that those before it must leave."""

PARTS = ("predict", "agree", "train")
MARK = "Chen and Zhang, KiTS23: a whole system, 20.65 s and at most 3525 MB of GPU memory a CT, on their machine"
LEGENDS = {
    "models": "A short training on phantoms, so that there are kidneys to find.",
    "predict": f"""One CT of {{shape}} voxels, whole processes, a cascade of networks of {{features}} features.
s without start: from the call to its end, without Python and its imports. GPU MB: the most that PyTorch had reserved,
and the most that nvidia-smi saw, CUDA's own with it. stock: both of nnU-Net's commands, one after the other.
The mark: {MARK}.""",
    "against stock": "Our label maps beside stock's.",
    "agree": "{device} against the CPU: logits of predictions; losses of three training steps, same weights and batch.",
    "train": """An epoch is {iterations} iterations. Loading: by so many processes. GPU busy: milliseconds of an
iteration on one batch over those of this one; beside it nvidia-smi's mean, which counts any kernel as busy. Networks
are compiled where a row says so.""",
}
"""Part -> what stands above its table."""

COLUMNS = {
    "data": ("step", "s"),
    "models": ("stage", "parameters, millions", "iterations", "seconds", "first loss", "last loss"),
    "predict": (
        *("who", "mirroring", "s", "s without start", "GPU MB, PyTorch", "GPU MB, nvidia-smi", "host MB"),
        *("Dice, kidney and mass", "Dice, tumour", "left out"),
    ),
    "against stock": ("who", "mirroring", "Dice, kidney and mass", "Dice, tumour", "labels differ in"),
    "agree": ("what", "largest difference", "mean difference", "standard deviation", "labels differ in", "left out"),
    "train": (
        *("network", "patch", "batch", "loading", "processes", "ms an iteration", "s an epoch", "waiting, ms"),
        *("GPU busy, %", "nvidia-smi, %", "GPU MB, PyTorch", "left out"),
    ),
}
"""Part -> columns of its table; --out has more."""

CALL = """
import importlib, json, sys, time
import nnunetv2.inference.predict_from_raw_data, torch
module, function, told, *words = sys.argv[1:]
sys.argv = [function, *words]
call = getattr(importlib.import_module(module), function)
start = time.perf_counter()
code = call()
seconds = time.perf_counter() - start
peak = torch.cuda.max_memory_reserved() / 2**20 if torch.cuda.is_available() else None
with open(told, "a") as file:
    print(json.dumps({"s": seconds, "MB": peak}), file=file)
sys.exit(code)
"""
OURS_BOXES, OURS_WHOLE = "ours, coarse to fine", "ours, whole volume"
TUMOUR = LABELS["tumor"]
OURS = ("nnunet_kits.cli.main", "main")
STOCK = ("nnunetv2.inference.predict_from_raw_data", "predict_entry_point")


class Watch:
    """What nvidia-smi says of the GPU, several times a second; nothing where there is none."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float, float]] = []
        command = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
        if shutil.which("nvidia-smi") is None:
            self.process = None
            return
        self.process = subprocess.Popen(
            [*command, "-i", "0", "-lms", "100"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            try:
                use, memory = (float(word) for word in line.split(","))
            except ValueError:  # a driver that does not tell one of them
                continue
            self.samples.append((time.time(), use, memory))

    def between(self, begin: float, end: float) -> np.ndarray:
        """Samples (n, 2) of use in percent and memory in MB between two times of day; n may be 0."""
        found = [sample[1:] for sample in list(self.samples) if begin <= sample[0] <= end]
        return np.array(found, float).reshape(-1, 2)

    def idle_mb(self) -> float:
        """The least memory in use so far: what the machine holds without us."""
        return min((memory for _, _, memory in list(self.samples)), default=0.0)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()


class Results:
    """Rows by part, printed as they come and written to a file each time."""

    def __init__(self, file: Path | None, about: dict[str, Any], words: dict[str, Any]) -> None:
        self.file, self.content, self.words = file, {**about, "results": {}}, words

    def add(self, part: str, row: dict[str, Any]) -> None:
        """Take a row."""
        rows = self.content["results"].setdefault(part, [])
        columns = COLUMNS[part]
        if not rows:
            legend = LEGENDS.get(part, "").format(**self.words)
            print(f"\n{legend}\n" if legend else "")
            print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        rows.append(row)
        print(f"| {' | '.join(shown(row.get(column)) for column in columns)} |", flush=True)
        self.write()

    def write(self) -> None:
        """Write the file whole."""
        if self.file is not None:
            write_text(self.file, json.dumps(self.content, indent=1))


def shown(value: Any) -> str:
    """A cell of a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


class Run:
    """One run of the benchmark: its folder, its end, and its processes."""

    def __init__(self, options: argparse.Namespace, folder: Path, results: Results) -> None:
        self.options, self.folder, self.results = options, folder, results
        self.scale = SMALL if options.small else FULL
        self.end = time.time() + 60 * options.minutes
        self.parts = ["data", *(["models"] if {"predict", "agree"} & {*options.parts} else [])]
        self.parts += [part for part in PARTS if part in options.parts]
        self.failed: list[str] = []
        self.watch = Watch()

    def deadline(self, part: str) -> float:
        """Time of day at which a part must end: its limit, or what it must leave to those after it."""
        share = self.options.minutes / 8
        later = self.parts[self.parts.index(part) + 1 :]
        limit = LIMITS[part] * share if later else float("inf")
        return min(time.time() + limit, self.end - share * sum(LEAST[other] for other in later))

    def fail(self, part: str) -> None:
        """Note that a part did not do its work."""
        if part not in self.failed:
            self.failed.append(part)

    def process(
        self, part: str, words: list[str], deadline: float, take: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Run a program of ours to its end or to the deadline.

        Args:
            part: whose it is.
            words: of its command line, after Python; ``TOLD`` stands for the file to which it adds rows of JSON.
            deadline: time of day at which it is ended.
            take: called with each row.

        Returns:
            Wall seconds, peak memory, whether it was ended, and whether it failed.
        """
        log = self.folder / "logs" / f"{part.split()[0]}.log"
        log.parent.mkdir(exist_ok=True)
        told = self.folder / "logs" / f"{part.split()[0]}.told"
        told.write_text("")
        words = [str(told) if word == "TOLD" else word for word in words]
        read, start, begin = 0, time.perf_counter(), time.time()
        with log.open("a") as out:
            print(shlex.join(words), file=out, flush=True)
            process = subprocess.Popen(
                [sys.executable, *words], stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        ended = False
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            wall = time.perf_counter() - start
            lines = told.read_text().split("\n")[:-1]
            for line in lines[read:]:
                take(json.loads(line))
            read = len(lines)
            if pid:
                break
            if time.time() > deadline and not ended:
                ended = True
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.05)
        process.returncode = os.waitstatus_to_exitcode(status)
        failed = process.returncode != 0 and not ended
        if ended:
            print(f"\n{part}: ended after {wall:.0f} s, for lack of time", flush=True)
        if failed:
            self.fail(part)
            print(f"\n{part}: failed; the end of {log}:\n{log.read_text()[-3000:]}", flush=True)
        return {
            "s": wall,
            "host MB": used.ru_maxrss / (1 << 10),
            "ended": ended,
            "failed": failed,
            "samples": self.watch.between(begin, time.time()),
        }

    def child(self, part: str, deadline: float, *words: str) -> bool:
        """Run a part of this script in a process of its own, its rows taken as they come; whether it went well."""
        given = ["--device", self.options.device, *(["--small"] if self.options.small else [])]
        given += ["--seconds", str(self.options.seconds)]
        given += ["--workers", *map(str, self.options.workers), "--work", str(self.folder)]
        given += ["--child", part.split()[0], "--told", "TOLD", "--until", str(deadline - 5), *words]
        done = self.process(part, [__file__, *given], deadline, lambda row: self.take(part.split()[0], row))
        return not (done["failed"] or done["ended"])

    def take(self, part: str, row: dict[str, Any]) -> None:
        """Take a row of a child, and add what nvidia-smi said meanwhile."""
        if "between" in row:
            samples = self.watch.between(*row["between"])
            row["nvidia-smi, %"] = float(samples[:, 0].mean()) if len(samples) else None
        self.results.add(part, row)

    def all(self) -> None:
        """Every part that was asked for."""
        if not self.child("data", self.deadline("data")):
            print(f"\nleft out for want of data: {', '.join(self.options.parts)}")
            self.fail("data")
            return
        beside = threading.Thread(target=self.child, args=("resenc", self.end))  # the models leave the CPUs idle
        if "train" in self.parts:
            beside.start()
        ready = "models" not in self.parts or self.child("models", self.deadline("models"))
        if "train" in self.parts:
            beside.join()
        if not ready:
            print("\nleft out for want of models: agree, predict")
            self.fail("models")
        if "predict" in self.parts and ready:
            self.predict(self.deadline("predict"))
        if "agree" in self.parts and ready:
            self.child("agree", self.deadline("agree"))
        if "train" in self.parts:
            deadline = self.deadline("train")
            for turn, network in enumerate(("ResUNet", "ResEnc L")):
                until = time.time() + (deadline - time.time()) / (2 - turn)
                self.child(f"train {network}", until, "--network", network)

    def predict(self, deadline: float) -> None:
        """Predict the held-out case by each way, with whole processes."""
        self.results.words["shape"] = " x ".join(map(str, read_labels(self.folder / "test").shape))
        ways = [(who, mirroring) for mirroring in self.scale.mirroring for who in (OURS_BOXES, OURS_WHOLE, "stock")]
        took: dict[str, float] = {}
        for who, mirroring in ways:
            row: dict[str, Any] = {"who": who, "mirroring": mirroring}
            found = {"left out": "no time"}
            if time.time() + took.get(who, 0) < deadline:
                found = self.one_way(who, mirroring, self.place(who, mirroring), deadline)
                took[who] = float(found.get("s", 0))
            self.results.add("predict", {**row, **found})
            if "seconds" in found:
                phases = ", ".join(f"{name} {value:g}" for name, value in found["seconds"].items())
                print(f"  seconds by phase: {phases}", flush=True)
        for mirroring in self.scale.mirroring:
            self.against_stock(mirroring)

    def one_way(self, who: str, mirroring: bool, out: Path, deadline: float) -> dict[str, Any]:
        """One way to predict: time, memory and what came of it."""
        source, results = str(self.folder / "test" / "in"), self.folder / "nnUNet_results" / DATASET
        common = ["--device" if who != "stock" else "-device", self.options.device]
        common += [] if mirroring else ["--disable_tta"]
        if who == "stock":
            low = out.with_name(out.name + "_low")
            model = ["-i", source, "-d", "220", "-p", PLANS, "-tr", "ResUNetTrainer", "-f", "all"]
            model += ["-npp", "0", "-nps", "0", "--disable_progress_bar", *common]
            commands = [(*STOCK, "TOLD", *model, "-o", str(low), "-c", "3d_lowres")]
            more = ["-prev_stage_predictions", str(low)]
            commands.append((*STOCK, "TOLD", *model, "-o", str(out), "-c", "3d_cascade_fullres", *more))
        else:
            fine = str(results / f"ResUNetTrainer__{PLANS}__3d_cascade_fullres")
            words = ["predict", "-i", source, "-o", str(out), "--fine", fine, "--folds", "all", *common]
            words += ["--whole-volume"] if who == OURS_WHOLE else []
            commands = [(*OURS, "TOLD", *words)]
        rows: list[dict[str, Any]] = []
        done = []
        for command in commands:
            done.append(self.process(f"predict {who}", ["-c", CALL, *command], deadline, rows.append))
            if done[-1]["failed"] or done[-1]["ended"]:
                return {"left out": "failed" if done[-1]["failed"] else "no time"}
        samples = np.concatenate([run["samples"] for run in done])
        peaks = [row["MB"] for row in rows if row["MB"] is not None]
        found = {
            "s": sum(run["s"] for run in done),
            "s of each process": [run["s"] for run in done],
            "s without start": sum(row["s"] for row in rows),
            "GPU MB, PyTorch": max(peaks, default=None),
            "GPU MB, nvidia-smi": float(samples[:, 1].max()) - self.watch.idle_mb() if len(samples) else None,
            "host MB": max(run["host MB"] for run in done),
            **scores(read_labels(out), read_labels(self.folder / "test")),
        }
        record = out / "prediction.json"
        if record.is_file():
            found |= {key: json.loads(record.read_text())["cases"][HELD_OUT][key] for key in ("boxes", "seconds")}
        return found

    def against_stock(self, mirroring: bool) -> None:
        """How our label maps differ from stock's of the same mirroring."""
        stock = read_labels(self.place("stock", mirroring))
        for who in (OURS_BOXES, OURS_WHOLE):
            ours = read_labels(self.place(who, mirroring))
            if stock is None or ours is None:
                continue
            row = {"who": who, "mirroring": mirroring, "labels differ in": float((ours != stock).mean())}
            self.results.add("against stock", row | scores(ours, stock))

    def place(self, who: str, mirroring: bool) -> Path:
        """Where the label map of one way is kept."""
        name = f"{who}{', mirrored' if mirroring else ''}".replace(", ", "_").replace(" ", "_")
        return self.folder / "predicted" / name


def read_labels(folder: Path) -> Any:
    """The held-out case's label map in a folder; None where there is none."""
    import nibabel as nib

    file = folder / f"{HELD_OUT}.nii.gz"
    return np.asarray(nib.load(file).dataobj) if file.is_file() else None


def scores(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Dice of two label maps."""
    return {
        "Dice, kidney and mass": dice(a > 0, b > 0),
        "Dice, tumour": dice(a == TUMOUR, b == TUMOUR),
    }


def child(options: argparse.Namespace) -> None:
    """A part in a process of its own: rows are added to the file ``--told``."""
    folder, scale = options.work, SMALL if options.small else FULL

    def tell(row: dict[str, Any]) -> None:
        with options.told.open("a") as file:
            print(json.dumps(row), file=file, flush=True)

    if options.child == "data":
        for step, took in make_data(folder, scale).items():
            tell({"step": step, "s": took})
    elif options.child == "resenc":
        preprocess(scale, RESENC_PLANS, "3d_fullres")
    elif options.child == "models":
        from gpu_models import STAGES, train_stage

        for turn, (stage, iterations) in enumerate(zip(STAGES, scale.iterations, strict=True)):
            until = time.time() + (options.until - time.time()) * (0.5 if turn == 0 else 0.9)
            tell(train_stage(folder, stage, iterations, scale.learning_rate, options.device, until))
    elif options.child == "agree":
        import gpu_agreement

        for rows in (
            gpu_agreement.predictions(folder, options.device),
            gpu_agreement.steps(folder, scale, options.device),
        ):
            for row in rows:
                tell(row)
    else:
        from gpu_training import measure

        for row in measure(folder, options.network, options.device, options.workers, options.seconds, options.until):
            tell(row)


def main() -> int:
    """Measure and print; 1 where a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="tiny networks and CTs: whether it works, not how fast")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--minutes", type=float, default=8.0, help="the whole ends within them (default: 8)")
    parser.add_argument("--workers", type=int, nargs="+", help="loading processes (default: 8 2 4, in turn; small: 2)")
    parser.add_argument("--seconds", type=float, help="to look at each loader (default: 6; small: 1)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="everything that was measured")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="where data, models and logs are kept")
    for hidden, kind in (("--child", str), ("--told", Path), ("--until", float), ("--network", str)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.workers = options.workers or ([2] if options.small else [8, 2, 4])
    options.seconds = options.seconds or (1.0 if options.small else 6.0)
    if options.child:
        child(options)
        return 0
    folder = Path(options.work or tempfile.mkdtemp(prefix="gpu_benchmark_")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(environment(folder), nnUNet_compile="F")
    about = {"machine": machine(), "device": device_name(options.device), "command": shlex.join(sys.argv)}
    print(f"{about['machine']}; {about['device']}", flush=True)
    about |= {"date": str(datetime.datetime.now()), "small": options.small}
    scale = SMALL if options.small else FULL
    words = {
        "features": "{} to {}".format(*scale.features),
        "device": options.device,
        "iterations": ITERATIONS_PER_EPOCH,
    }
    run = Run(options, folder, Results(options.out, about, words))
    start = time.perf_counter()
    try:
        run.all()
    finally:
        run.watch.stop()
        run.results.content["seconds"] = time.perf_counter() - start
        run.results.write()
        if options.work is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(
        f"\n{run.results.content['seconds']:.0f} s in all"
        + (f"; failed: {', '.join(run.failed)}" if run.failed else "")
    )
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
