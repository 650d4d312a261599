"""Recipes: a whole system, from a KiTS folder to its report, as one JSON file, and the steps that it becomes."""

from nnunet_kits.recipes.loading import load_recipe, recipe_names
from nnunet_kits.recipes.recipe import Recipe
from nnunet_kits.recipes.sequence import steps_of
from nnunet_kits.recipes.steps import Resources, RunSettings, Step, environment_of

__all__ = [
    "Recipe",
    "Resources",
    "RunSettings",
    "Step",
    "environment_of",
    "load_recipe",
    "recipe_names",
    "steps_of",
]
