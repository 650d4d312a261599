"""Fixtures shared by the tests: a clean nnU-Net environment, and one small dataset that every end-to-end test uses."""

import os

# Before anything imports nnU-Net, which reads the first of these once.
os.environ["nnUNet_def_n_proc"] = "1"
os.environ["nnUNet_compile"] = "F"
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run in one process a CPU; more threads only wait for each other
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # chosen: the command line sets no other

from pathlib import Path

import pytest
from allowed_skips import SkipGuard, everything_must_run

from nnunet_kits.environment import SHIM_FOLDER

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("NNUNET_KITS_SHARED", REPOSITORY.parent / "shared"))


def pytest_configure(config):
    """Where everything must run, a skip without an allowed reason fails the run."""
    if everything_must_run():
        config.pluginmanager.register(SkipGuard())


def pytest_collection_modifyitems(items):
    """Modules with slow tests first: they are the longest, and no process should end alone with one of them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def nnunet(tmp_path, monkeypatch):
    """Empty nnU-Net folders below tmp_path, the shim found; returns tmp_path."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("nnUNet_extTrainer", str(SHIM_FOLDER))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    return tmp_path


@pytest.fixture(scope="session")
def small_datasets(tmp_path_factory):
    """The small dataset in its three forms, preprocessed; never written to. See small_data.py."""
    from small_data import FORMS, write_preprocessed

    root = tmp_path_factory.mktemp("small_datasets")
    for form in FORMS:
        write_preprocessed(root, form)
    return root


@pytest.fixture
def small(nnunet, small_datasets, monkeypatch):
    """nnU-Net's folders with the small dataset and empty results; returns the folder that holds them."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.setenv(name, str(small_datasets / name))
    return small_datasets
