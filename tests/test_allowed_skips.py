"""Where everything must run, a skip fails the run unless its reason is in the list."""

import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY


@pytest.mark.parametrize("processes", ["0", "1"])
@pytest.mark.parametrize(
    ("reason", "everything", "code"),
    [("zsh is not installed", "true", 0), ("MONAI is not installed", "true", 1), ("MONAI is not installed", "", 0)],
)
def test_only_an_allowed_skip_passes_where_everything_must_run(tmp_path, reason, everything, code, processes):
    (tmp_path / "test_one.py").write_text(
        f"import pytest\n\n\ndef test_one():\n    pytest.skip({reason!r})\n\n\ndef test_two():\n    pass\n"
    )
    (tmp_path / "conftest.py").write_text(
        "from allowed_skips import SkipGuard, everything_must_run\n\n\ndef pytest_configure(config):\n"
        "    if everything_must_run():\n        config.pluginmanager.register(SkipGuard())\n"
    )
    environment = {**os.environ, "CI": everything, "PYTHONPATH": str(REPOSITORY / "tests")}
    command = [sys.executable, "-m", "pytest", "-q", "-n", processes, str(tmp_path), "--rootdir", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("NOT ALLOWED TO BE SKIPPED HERE: test_one.py::test_one: Skipped: MONAI" in done.stdout) == (code == 1)
