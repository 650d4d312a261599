"""What to derive, and how."""

from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.conversion.settings import DATASET_NAME
from nnunet_kits.derivation.masks import REFERENCE
from nnunet_kits.derivation.rule import Rule
from nnunet_kits.errors import DerivationError


@dataclass(frozen=True)
class Settings:
    """What to derive, and how.

    Attributes:
        raw: nnU-Net's raw folder.
        source_id: number of the dataset to derive from.
        new_id: number of the new dataset.
        rule: what becomes of labels and scans.
        masks: ``("reference",)``, or folders of label maps and of trained models; empty where the rule needs none.
        name: what follows ``DatasetNNN_``; None for the source's name and the rule's.
        whole_if_empty: crop nothing and keep everything of a case whose mask is empty.
        skip_bad: leave out bad cases, those without a mask and those with an empty one.
        overwrite: derive again the cases whose source or mask has changed, and drop those that are gone.
        workers: processes; None for as many as CPUs and memory allow.

    Raises:
        DerivationError: a value that is not allowed.
    """

    raw: Path
    source_id: int
    new_id: int
    rule: Rule
    masks: tuple[str, ...] = ()
    name: str | None = None
    whole_if_empty: bool = False
    skip_bad: bool = False
    overwrite: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.new_id <= 999 or self.new_id == self.source_id:
            raise DerivationError(
                f"-o {self.new_id}: the new dataset needs a number of its own from 1 to 999, not the source's."
            )
        if self.name is not None and not DATASET_NAME.fullmatch(self.name):
            raise DerivationError(
                f"--name {self.name!r}: only letters, digits, and single - or _ between them; nnU-Net splits at '__'."
            )
        if self.workers is not None and self.workers < 1:
            raise DerivationError(f"-np {self.workers}: at least one worker is needed.")
        if REFERENCE in self.masks and len(self.masks) > 1:
            raise DerivationError(f"--masks {' '.join(self.masks)}: either {REFERENCE} or folders, not both.")
        if self.rule.preparation.needs_mask and not self.masks:
            raise DerivationError(
                f"rule {self.rule.name} crops to a mask or multiplies by one. Name a coarse model's folder or its "
                f"label maps with --masks, or --masks {REFERENCE} for the reference."
            )
        if self.whole_if_empty and not self.rule.preparation.needs_mask:
            raise DerivationError(f"rule {self.rule.name} needs no masks. Leave --whole-volume-if-empty out.")
        if self.masks and not self.rule.preparation.needs_mask:
            raise DerivationError(f"rule {self.rule.name} needs no masks. Leave --masks out.")

    @property
    def by_reference(self) -> bool:
        """Whether the masks are the cases' own label maps."""
        return self.masks == (REFERENCE,)

    def dataset(self, source: Path) -> Path:
        """The new dataset's folder.

        Args:
            source: the folder that it is derived from.

        Raises:
            DerivationError: the rule's name cannot be part of a dataset's.
        """
        if self.name is None and not DATASET_NAME.fullmatch(self.rule.name):
            raise DerivationError(
                f"{self.rule.name}.json: its name would be part of the dataset's, which holds only letters, digits, "
                "and single - or _ between them. Rename the file, or give a --name."
            )
        words = self.rule.name.replace("-", "_").split("_")
        name = self.name or source.name.split("_", 1)[1] + "".join(word[:1].upper() + word[1:] for word in words)
        return self.raw / f"Dataset{self.new_id:03d}_{name}"
