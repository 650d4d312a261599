"""Recipes as files: the shipped ones by name, a user's own by path, checked whole before anything is done by them."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nnunet_kits.complaints import complaint
from nnunet_kits.errors import RecipeError
from nnunet_kits.recipes.checks import check_recipe
from nnunet_kits.recipes.recipe import Recipe
from nnunet_kits.shipped import read_shipped, shipped_names

RECIPES_FOLDER = Path(__file__).parent

FILE_KEYS = ("plans", "rule", "system", "postprocessing", "splits", "hold_out")
"""Keys whose values may be a ``.json`` file of the user's own, which is looked for beside the recipe."""


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return shipped_names(RECIPES_FOLDER)


def load_recipe(name_or_file: str) -> Recipe:
    """A shipped recipe by its name, or one from a JSON file, with all that it names checked.

    Raises:
        RecipeError: no such recipe, or a file that is none; the message names key, value and what is allowed.
    """
    path, content = read_shipped(name_or_file, RECIPES_FOLDER, "recipe", RecipeError)
    recipe = parse_recipe(path.stem, content, path.parent, str(path))
    check_recipe(recipe, str(path))
    return recipe


def parse_recipe(name: str, content: Any, folder: Path, where: str) -> Recipe:
    """A recipe from what its file holds; what its names stand for is not looked at.

    Args:
        name: of the recipe.
        content: as read from JSON.
        folder: where files that it names are looked for.
        where: what holds it, for messages.

    Raises:
        RecipeError: an unknown or missing key, or a value of another form.
    """
    if not isinstance(content, dict):
        raise RecipeError(f"{where}: a recipe is a JSON object, not a {type(content).__name__}.")
    if "name" in content:
        raise RecipeError(f"{where}: name: unknown key. A recipe is called as its file is: {name}.")
    try:
        return Recipe.model_validate({"name": name, **_placed(content, folder)})
    except ValidationError as error:
        raise RecipeError(f"{where}: {complaint(Recipe, error)}") from error


def _placed(value: Any, folder: Path, key: str = "") -> Any:
    """JSON's lists as tuples, which is what frozen tables hold, and files of one's own by their whole path."""
    if isinstance(value, dict):
        return {key: _placed(item, folder, key) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_placed(item, folder) for item in value)
    if isinstance(value, str) and key in FILE_KEYS and value.endswith(".json"):
        return str((folder / Path(value).expanduser()).resolve())
    return value
