"""Training on a CPU, alone and beside one busy process, by how OpenMP's threads wait for each other.

    python benchmarks/busy.py                  # training iterations of the demo's network
    python benchmarks/busy.py --demo FOLDER    # the whole quick demo, alone and beside a busy process

A demo goes before those that are timed: the first on a machine compiles loops and reads all libraries from the disk.
Every line is one set of environment variables. A fair share of two CPUs beside one busy process is two thirds of them:
1.5 times the time. Run it on a machine that does nothing else.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from side_by_side import machine, told_by

SETTINGS: dict[str, dict[str, str]] = {
    "as torch comes": {},
    "GOMP_SPINCOUNT=100000": {"GOMP_SPINCOUNT": "100000"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}

TRAIN = """
import sys, time
import torch
from nnunet_kits.architectures.residual import ResUNet
torch.manual_seed(0)
iterations = int(sys.argv[1])
network = ResUNet(
    1, 3, True, n_stages=4, features_per_stage=[16, 32, 64, 128], conv_op=torch.nn.Conv3d,
    kernel_sizes=[[3, 3, 3]] * 4, strides=[[1, 1, 1]] + [[2, 2, 2]] * 3,
)
optimizer = torch.optim.SGD(network.parameters(), 1e-3)
image = torch.randn(2, 1, 48, 64, 64)
times = []
for _ in range(iterations + 2):
    start = time.perf_counter()
    optimizer.zero_grad()
    sum(output.square().mean() for output in network(image)).backward()
    optimizer.step()
    times.append(time.perf_counter() - start)
print(f'{{"seconds": {sum(times[2:]) / iterations}}}')
"""

SPIN = "while True: pass"


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but spin."""
    running = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def demo_seconds(folder: Path, settings: dict[str, str]) -> float:
    """The quick demo from nothing."""
    command = [sys.executable, "-m", "nnunet_kits.cli.main", "demo", "--quick", "--device", "cpu", "--out", str(folder)]
    start = time.perf_counter()
    with folder.with_suffix(".log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log, env={**os.environ, **settings})
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=20, help="training iterations (default 20)")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, metavar="SETTING", help="lines of the table")
    parser.add_argument("--demo", type=Path, metavar="FOLDER", help="run the quick demo below this folder instead")
    options = parser.parse_args()
    if options.demo:
        demo_seconds(options.demo / "first", {})
    print(machine())
    print("| setting | alone, s | beside one busy process, s | ratio |\n|---|---|---|---|")
    for number, name in enumerate(options.only or SETTINGS):
        seconds = []
        for others in (0, 1):
            with busy(others):
                if options.demo:
                    seconds.append(demo_seconds(options.demo / f"demo_{number}_{others}", SETTINGS[name]))
                else:
                    seconds.append(told_by(TRAIN, str(options.iterations), **SETTINGS[name])["seconds"])
        alone, beside = seconds
        print(f"| {name} | {alone:.2f} | {beside:.2f} | {beside / alone:.2f}x |", flush=True)


if __name__ == "__main__":
    main()
