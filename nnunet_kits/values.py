"""What a value that people write into a file may be: a rule, which stands beside its type or its key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from nnunet_kits.errors import TrainingError


@dataclass(frozen=True)
class Rule:
    """What holds for a value, and that in words.

    Attributes:
        holds: whether it does.
        wanted: ends a sentence that begins with "must be".
        fields: for a value that is an object: the rules of its entries.
    """

    holds: Callable[[Any], bool]
    wanted: str
    fields: "Mapping[str, Rule] | None" = None

    def check(self, where: str, value: Any) -> None:
        """Refuse a value for which the rule does not hold, or an entry of it for which its own does not.

        Args:
            where: what the value is of, to begin the message.
            value: of any type, as JSON gives it.

        Raises:
            TrainingError: the value, and what it must be.
        """
        if not self.holds(value):
            raise TrainingError(f"{where} is {value!r}, but must be {self.wanted}.")
        if self.fields is not None:
            check_fields(where, value, self.fields)


def check_fields(where: str, given: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Refuse entries that are not known, and values that their rules do not allow.

    Args:
        where: what the entries are of, to begin the message.
        given: name -> value.
        rules: name -> rule, of all that may be given.

    Raises:
        TrainingError: the entry, and what is allowed.
    """
    for key, value in given.items():
        if key not in rules:
            raise TrainingError(f"{where} has no setting {key!r}. Allowed: {', '.join(rules)}.")
        rules[key].check(f"{where}.{key}", value)


def rules_of(table: type) -> dict[str, Rule]:
    """The rules of a dataclass whose fields are ``Annotated`` with one each."""
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(table, include_extras=True).items()}


def is_number(value: Any) -> bool:
    """Whether it is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_positive(value: Any) -> bool:
    """Whether it is a number above 0."""
    return is_number(value) and value > 0


def is_not_negative(value: Any) -> bool:
    """Whether it is a number that is not below 0."""
    return is_number(value) and value >= 0


def is_count(value: Any) -> bool:
    """Whether it is a whole number above 0."""
    return isinstance(value, int) and is_positive(value)


def is_share(value: Any) -> bool:
    """Whether it is a number above 0, and at most 1."""
    return is_positive(value) and value <= 1


def one_of(*words: str) -> Rule:
    """The rule that a value is one of these words."""
    told = [f"'{word}'" for word in words]
    return Rule(lambda value: value in words, " or ".join([*([", ".join(told[:-1])] if told[:-1] else []), told[-1]]))
