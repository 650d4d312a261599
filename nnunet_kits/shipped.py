"""Things that are JSON files, one a thing: those that the package ships, by name, and a user's own, by path."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_kits.errors import KitsError
from nnunet_kits.json_files import read_json


def shipped_names(folder: Path) -> list[str]:
    """Names of the shipped things in a folder of the package: their files' names without ``.json``."""
    return sorted(path.stem for path in folder.glob("*.json"))


def read_shipped(
    name_or_file: str, folder: Path, kind: str, error: type[KitsError], names: Sequence[str] | None = None
) -> tuple[Path, Any]:
    """What the file of a shipped thing holds, or a user's own file.

    Args:
        name_or_file: a name, or a path that ends in ``.json``.
        folder: of the shipped ones.
        kind: what they are, for messages.
        error: raised where there is none.
        names: all that a user may give; None for those in ``folder``.

    Returns:
        The file, and what it holds; nothing of that is checked.

    Raises:
        KitsError: of that type: no such thing, or no JSON.
    """
    path = Path(name_or_file) if name_or_file.endswith(".json") else folder / f"{name_or_file}.json"
    if not path.is_file():
        known = ", ".join(shipped_names(folder) if names is None else names)
        raise error(f"there is no {kind} {name_or_file!r}. Known: {known}; or give a .json file.")
    return path, read_json(path, error)
