"""A share of all faults on every verb, other ones of every kind: the whole is ``python tests/faults/faults.py``."""

import random

import pytest
from faults import json_cases, nifti_cases, run_cases
from world import build

NUMBER = 60
"""Of faults of each kind: seconds, where all of them take minutes."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build(tmp_path_factory.mktemp("faults") / "world")


@pytest.mark.parametrize("kind", ["NIfTI", "JSON"])
def test_damaged_files_are_refused_by_name_or_served_right_and_nothing_is_half_written(world, tmp_path, kind):
    cases = list(nifti_cases()) if kind == "NIfTI" else list(json_cases(world, tmp_path / "run"))
    assert len(cases) > 1000
    runs = run_cases(random.Random(0).sample(cases, NUMBER), world, tmp_path / "run")
    assert [(run.job, run.fault, run.faults) for run in runs if run.faults] == []
