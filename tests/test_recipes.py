"""Recipes: every shipped one becomes steps that may be typed one after the other."""

import re
from pathlib import Path

import pytest

from nnunet_kits.recipes import RunSettings, load_recipe, recipe_names, steps_of
from nnunet_kits.recipes.steps import VERBS

each_recipe = pytest.mark.parametrize("name", recipe_names())


def steps(name, **settings):
    return steps_of(load_recipe(name), RunSettings(Path("/root"), Path("/data"), **settings))


@each_recipe
def test_a_step_comes_after_those_that_it_reads(name):
    seen = []
    for step in steps(name):
        assert set(step.after) <= set(seen)
        seen.append(step.name)
    assert len(seen) == len(set(seen))


@each_recipe
def test_a_step_has_a_known_verb_and_a_name_that_a_file_can_have(name):
    for step in steps(name):
        assert step.verb in VERBS
        assert re.fullmatch(r"[A-Za-z0-9_]+", step.name)


@each_recipe
def test_a_run_ends_in_scores_measures_and_a_report(name):
    assert [step.verb for step in steps(name)][-3:] == ["evaluate", "measure", "report"]
