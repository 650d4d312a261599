"""Recipes: a whole system, from a KiTS folder to its report, as one JSON file, and the steps that it becomes.

Each name is imported when it is first asked for: a step of a run needs nothing of recipes but what a step is.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

PLACES = {"load_recipe": "loading", "recipe_names": "loading", "Recipe": "recipe", "steps_of": "sequence"}


def __getattr__(name: str) -> Any:
    """One of the names above, from its module."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{PLACES.get(name, 'steps')}"), name)
