"""What to convert, and how."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.conversion import schemes
from nnunet_kits.conversion.case_conversion import MODES
from nnunet_kits.conversion.dataset_json import LABEL_MODES
from nnunet_kits.conversion.splits import DEFAULT_FOLDS
from nnunet_kits.errors import ConversionError
from nnunet_kits.releases import Release

DATASET_NAME = re.compile(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*")


@dataclass(frozen=True)
class Settings:
    """What to convert, and how.

    Attributes:
        release: the year.
        source: repository root or data folder.
        raw: nnU-Net's raw folder.
        dataset_id: number of the dataset; None for the release's own.
        name: what follows ``DatasetNNN_``; None for the release's own.
        label_mode: ``classes`` or ``regions``.
        aggregation: which of KiTS21's label maps; None for the default.
        mode: how images are stored, one of ``compact``, ``copy``, ``hardlink``, ``symlink``.
        folds: how many folds splits_final.json has, by number.
        splits: how cases are split into folds, see :data:`nnunet_kits.conversion.schemes.ALLOWED`.
        hold_out: share or file of the cases that no fold gets; None for none.
        exclude: case numbers to leave out.
        skip_bad: go on after a bad case.
        workers: processes; None for as many as CPUs and memory allow.

    Raises:
        ConversionError: a value that is not allowed.
    """

    release: Release
    source: Path
    raw: Path
    dataset_id: int | None = None
    name: str | None = None
    label_mode: str = "classes"
    aggregation: str | None = None
    mode: str = "compact"
    folds: int = DEFAULT_FOLDS
    splits: str = schemes.BY_NUMBER
    hold_out: str | None = None
    exclude: Collection[int] = ()
    skip_bad: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        for value, allowed, option in ((self.mode, MODES, "--mode"), (self.label_mode, LABEL_MODES, "--labels")):
            if value not in allowed:
                raise ConversionError(f"{option} {value}: unknown. Choose one of {', '.join(allowed)}.")
        if self.folds < 2:
            raise ConversionError(
                f"--folds {self.folds}: cross-validation needs at least 2; nnU-Net's own number is 5."
            )
        schemes.check(self.splits, self.hold_out, self.folds)
        if self.dataset_id is not None and not 1 <= self.dataset_id <= 999:
            raise ConversionError(f"--dataset-id {self.dataset_id}: nnU-Net's numbers are 1 to 999.")
        if self.name is not None and not DATASET_NAME.fullmatch(self.name):
            raise ConversionError(
                f"--name {self.name!r}: only letters, digits, and single - or _ between them; nnU-Net splits at '__'."
            )
        if self.workers is not None and self.workers < 1:
            raise ConversionError(f"-np {self.workers}: at least one worker is needed.")
        self.release.label_file(self.aggregation)

    @property
    def joined_by(self) -> str | None:
        """The aggregation in use: KiTS21's default where none is asked for, None for years without."""
        return self.aggregation or next(iter(self.release.aggregations), None)

    @property
    def number(self) -> int:
        """nnU-Net's number of the dataset."""
        return self.release.dataset_id if self.dataset_id is None else self.dataset_id

    @property
    def dataset(self) -> Path:
        """The dataset's folder."""
        return self.raw / f"Dataset{self.number:03d}_{self.name or self.release.dataset_name}"
