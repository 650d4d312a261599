"""What the parameter of a loss may be: stands beside its type, as in ``alpha: Annotated[float, Range(0, 1)] = 0.3``."""

from dataclasses import dataclass
from typing import Any

from nnunet_kits.errors import TrainingError


@dataclass(frozen=True)
class Range:
    """What a parameter may be.

    Attributes:
        lowest: allowed too.
        highest: allowed too.
        whole: what there are only whole numbers of, such as voxels; None where parts are possible.
    """

    lowest: float
    highest: float
    whole: str | None = None

    def check(self, loss: str, parameter: str, value: Any) -> None:
        """Refuse a value that is no number, out of the range, or not whole.

        Raises:
            TrainingError: the value, and what is allowed.
        """
        where = f"loss {loss}: parameter {parameter} is"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TrainingError(f"{where} {value!r}, but must be a number.")
        if not self.lowest <= value <= self.highest:
            raise TrainingError(f"{where} {value}, but must be {self.lowest:g} to {self.highest:g}.")
        if self.whole and int(value) != value:
            raise TrainingError(f"{where} {value}, but must be a whole number of {self.whole}.")
