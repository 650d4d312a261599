"""What pydantic finds wrong with a file, as one line: key, value, what is allowed."""

from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

SHOWN = 60
"""Signs of a value that are shown."""


def complaint(model: type[BaseModel], error: ValidationError) -> str:
    """The first thing that is wrong, and how many more there are.

    Args:
        model: of the whole file.
        error: what validating it gave.
    """
    found = error.errors(include_url=False)
    first, location = found[0], found[0]["loc"]
    where = ".".join(map(str, location))
    if first["type"] == "extra_forbidden":
        line = f"{where}: unknown key. Allowed: {', '.join(_keys(model, location[:-1]))}."
    elif first["type"] == "missing":
        line = f"{where}: is missing. The keys are {', '.join(_keys(model, location[:-1]))}."
    else:
        shown = repr(first["input"])
        shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
        wanted = (
            first["msg"]
            .removeprefix("Value error, ")
            .replace("Input should", "must")
            .replace("Tuple", "List")
            .replace("tuple", "list")
        )
        line = f"{where} is {shown}, but {wanted}."
    return line if len(found) == 1 else f"{line} {len(found) - 1} more things are wrong."


def _keys(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at a place, in a file of this form."""
    if not location:
        return [key for key in model.model_fields if key != "name" or "summary" not in model.model_fields]
    inner = _of(model.model_fields[location[0]].annotation)
    rest = location[1:]
    while get_origin(inner) in (tuple, dict):  # a list's number, a dictionary's key
        inner, rest = _of(get_args(inner)[1 if get_origin(inner) is dict else 0]), rest[1:]
    return _keys(inner, rest)


def _of(annotation: Any) -> Any:
    """What an optional annotation is of."""
    return (
        next((kind for kind in get_args(annotation) if kind is not type(None)), annotation)
        if (type(None) in get_args(annotation))
        else annotation
    )
