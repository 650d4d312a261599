"""JSON files, read so that what is wrong with one is one line."""

import json
from pathlib import Path
from typing import Any

from nnunet_kits.errors import KitsError


def read_json(path: Path, error: type[KitsError] = KitsError, advice: str = "") -> Any:
    """What a JSON file holds.

    Args:
        path: of the file.
        error: raised where it holds none.
        advice: what to do then.

    Raises:
        KitsError: of that type: no such file, not to be read, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise error(f"{path}: no such file.{after(advice)}") from fault
    except OSError as fault:
        raise error(f"{path}: cannot be read ({fault.strerror or fault}).{after(advice)}") from fault
    except RecursionError as fault:
        raise error(f"{path}: not a JSON file that can be used (nested too deep).{after(advice)}") from fault
    except ValueError as fault:  # no UTF-8 is one, too
        raise error(f"{path}: not a JSON file ({fault}).{after(advice)}") from fault


def read_object(path: Path, error: type[KitsError] = KitsError, advice: str = "") -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        KitsError: of the type ``error``: as :func:`read_json`, or it holds something else.
    """
    content = read_json(path, error, advice)
    if not isinstance(content, dict):
        raise error(f"{path}: must be a JSON object, but is {kind_of(content)}.{after(advice)}")
    return content


def after(advice: str) -> str:
    """Advice at the end of a message."""
    return f" {advice}" if advice else ""


def kind_of(content: object) -> str:
    """What a value of JSON is, for a message."""
    kinds = {list: "a list", str: "a word", bool: "true or false", type(None): "null"}
    return kinds.get(type(content), "a number")
