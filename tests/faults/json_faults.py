"""What can be wrong with a JSON file: the file as a whole, and each value in it."""

import json
from collections.abc import Iterator
from typing import Any

WHOLE = {
    "empty": b"",
    "cut": None,
    "null": b"null",
    "a number": b"17",
    "a word": b'"word"',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "a list of numbers": b"[1, 2, 3]",
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"name": 1}'.encode("utf-16"),
    "NaN": b"NaN",
    "an error page": b"<html>404</html>",
    "nested 100,000 deep": b"[" * 100_000,
    "keys nested 20,000 deep": b'{"a":' * 20_000,
    "zeros": bytes(500),
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00}\x94.",
}
"""Name -> what stands in the file's place; None for its first half."""

VALUES: dict[str, Any] = {
    "null": None,
    "-1": -1,
    "1e400": float("inf"),
    "NaN": float("nan"),
    "a word": "word",
    "no word": "",
    "an empty list": [],
    "an empty object": {},
    "a list of null": [None],
    "an object of null": {"a": None},
    "true": True,
    "a traversal": "../../../etc/passwd",
}
"""Name -> what a value is replaced with."""


def whole(content: bytes, name: str) -> bytes:
    """A file that is wrong as a whole."""
    made = WHOLE[name]
    return content[: len(content) // 2] if made is None else made


def places(content: Any, depth: int = 3, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values lie in a document, as keys and indices, down to a depth; of a list the first entry alone."""
    entries = (
        list(content.items())
        if isinstance(content, dict)
        else list(enumerate(content))[:1]
        if isinstance(content, list)
        else []
    )
    for key, value in entries:
        yield (*path, key)
        if len(path) + 1 < depth:
            yield from places(value, depth, (*path, key))


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with another value in a place."""
    made = json.loads(json.dumps(content))
    inside = made
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return made


def without(content: Any, path: tuple[Any, ...]) -> Any:
    """The document without what lies in a place."""
    made = json.loads(json.dumps(content))
    inside = made
    for key in path[:-1]:
        inside = inside[key]
    del inside[path[-1]]
    return made
