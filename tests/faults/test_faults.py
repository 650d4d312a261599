"""A share of all faults, on every verb that is quick: the whole is ``python tests/faults/faults.py``."""

import os
import random

import dicom_faults
import pytest
from disks import with_small_files
from faults import drawn, json_cases, nifti_cases, run_cases
from kills import kill_verb
from surroundings import NAMES, nobody_listens, odd_files, odd_names, two_at_once
from world import build

pytestmark = pytest.mark.skipif(os.name == "nt", reason="verbs are started by forking, which Windows lacks")

QUICK = ("convert", "postprocess", "evaluate", "measure")
"""Verbs that need neither torch nor pictures: tenths of a second a run."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build(tmp_path_factory.mktemp("faults") / "world")


@pytest.mark.parametrize(("kind", "most"), [("NIfTI", 3), ("JSON", 3)])
def test_damaged_files_are_refused_by_name_or_served_right_and_nothing_is_half_written(world, tmp_path, kind, most):
    cases = list(nifti_cases()) if kind == "NIfTI" else list(json_cases(world, tmp_path / "run"))
    assert len(cases) > 1000
    runs = run_cases(drawn(cases, most), world, tmp_path / "run")
    assert [(run.job, run.fault, run.faults) for run in runs if run.faults] == []


def test_damaged_dicom_is_refused_or_served_without_a_traceback(tmp_path):
    series = dicom_faults.build(tmp_path / "series")
    runs = list(dicom_faults.mutated(series, tmp_path / "run", 15, random.Random(0)))
    assert [(run.job, run.fault, run.faults) for run in runs if run.faults] == []
    assert {"served", "refused"} == {run.outcome for run in runs}


@pytest.mark.parametrize("verb", QUICK)
def test_a_killed_verb_a_full_disk_another_run_and_odd_files_change_no_result(world, tmp_path, verb):
    scratch, draw = tmp_path / "run", random.Random(verb)
    runs = [*kill_verb(world, scratch, verb, 2, draw), *two_at_once(world, scratch, verb, (0.0,))]
    runs += [*with_small_files(world, scratch, verb, (100,)), *nobody_listens(world, scratch, verb)]
    victims = {"convert": "kits/dataset/case_00001/imaging.nii.gz", "evaluate": "references/case_00001.nii.gz"}
    runs += odd_files(world, scratch, verb, victims.get(verb, "labels/case_00001.nii.gz"))
    if verb != "convert":
        names = ("a comma", "a newline", "an umlaut", "a leading dash", "bytes that are no UTF-8")
        runs += odd_names(world, scratch, verb, {name: NAMES[name] for name in names})
    assert [(run.job, run.fault, run.faults) for run in runs if run.faults] == []
    assert {"served", "refused"} <= {run.outcome for run in runs}
