"""The KiTS challenges as data: a year is one entry, and everything that knows of years reads it here.

Source: the repositories neheller/kits19, neheller/kits21, neheller/kits23 and https://kits-challenge.org. Tolerances:
``configuration/labels.py`` of neheller/kits23, and ``kits21/configuration/labels.py`` of neheller/kits21 at commit
14e9dca1; a later commit of the latter (697892ba) has KiTS23's three numbers instead. ``evaluate`` takes other
tolerances as an option.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nnunet_kits.errors import ConversionError, KitsError
from nnunet_kits.labels import Label

LICENCE = "CC BY-NC-SA 4.0"
KITS19_PAPER = "Heller et al. 2019, The KiTS19 Challenge Data, https://arxiv.org/abs/1904.00445"
KITS21_PAPER = "Heller et al. 2023, The KiTS21 Challenge, https://arxiv.org/abs/2307.01984"
NOT_USED_BY_NNUNET = (
    "nnU-Net's authors left it out of their KiTS19 training for faulty annotation, and the challenge's corrections of "
    "December 2019 (cases 15, 23, 37, 125) do not cover it"
)


@dataclass(frozen=True)
class Release:
    """One year's data and how it is scored.

    Attributes:
        year: as on the command line, two digits.
        dataset_id: nnU-Net's number for it, carried on from the field's own converters.
        dataset_name: what follows ``DatasetNNN_``.
        data_folders: where the cases lie below the repository's root; phantoms are laid out in the first.
        label_files: aggregation name ("" where there is only one label map) -> file in the case's folder. The first is
            the reference that is scored against.
        labels: foreground values that its label maps may hold.
        training: ranges of the numbers of cases published with labels.
        test: ranges of the numbers of cases published, or reserved, without labels.
        known_bad: case number -> why it is doubtful. Such cases are converted, and named.
        reference: paper that describes the data.
        url: where the data come from.
        description: one line for dataset.json.
        tolerances_mm: hierarchical evaluation class -> tolerance of its surface Dice; none where none is scored.
        licence: the data's own.
        image_file: the CT in the case's folder.
        samples: pattern of further segmentations in the case's folder that are scored against too; "" for none.
    """

    year: str
    dataset_id: int
    dataset_name: str
    data_folders: tuple[str, ...]
    label_files: Mapping[str, str]
    labels: tuple[Label, ...]
    training: tuple[range, ...]
    test: tuple[range, ...]
    reference: str
    url: str
    description: str
    tolerances_mm: Mapping[str, float] = field(default_factory=dict)
    known_bad: Mapping[int, str] = field(default_factory=dict)
    licence: str = LICENCE
    image_file: str = "imaging.nii.gz"
    samples: str = ""

    @property
    def edition(self) -> str:
        """The challenge's name, for example ``KiTS23``."""
        return f"KiTS{self.year}"

    @property
    def aggregations(self) -> tuple[str, ...]:
        """The ways of joining several annotators that this year publishes; the first is the default."""
        return tuple(name for name in self.label_files if name)

    def label_file(self, aggregation: str | None) -> str:
        """The label map's file name.

        Raises:
            ConversionError: an aggregation that this year does not publish.
        """
        if aggregation is None:
            return next(iter(self.label_files.values()))
        if aggregation not in self.aggregations:
            known = ", ".join(self.aggregations) or "none: leave --aggregation away"
            raise ConversionError(f"{self.edition} has no aggregation {aggregation!r}. Known for this year: {known}.")
        return self.label_files[aggregation]

    def is_training(self, number: int) -> bool:
        """Whether this case was published with labels."""
        return any(number in numbers for numbers in self.training)

    def is_test(self, number: int) -> bool:
        """Whether this case belongs to the edition's test set."""
        return any(number in numbers for numbers in self.test)


RELEASES: dict[str, Release] = {
    "19": Release(
        year="19",
        dataset_id=64,
        dataset_name="KiTS2019",
        data_folders=("data",),
        label_files={"": "segmentation.nii.gz"},
        labels=(Label.KIDNEY, Label.TUMOR),
        training=(range(0, 210),),
        test=(range(210, 300),),
        known_bad={68: NOT_USED_BY_NNUNET, 133: NOT_USED_BY_NNUNET},
        reference=KITS19_PAPER,
        url="https://github.com/neheller/kits19",
        description="KiTS19: kidney and kidney tumour in late arterial CT, 210 training cases",
    ),
    "21": Release(
        year="21",
        dataset_id=135,
        dataset_name="KiTS2021",
        data_folders=("kits21/data", "data"),
        label_files={name: f"aggregated_{name}_seg.nii.gz" for name in ("MAJ", "AND", "OR")},
        labels=(Label.KIDNEY, Label.TUMOR, Label.CYST),
        training=(range(0, 300),),
        # Its 100 test cases were never published; KiTS23 leaves just this gap in its numbering.
        test=(range(300, 400),),
        reference=KITS21_PAPER,
        url="https://github.com/neheller/kits21",
        description="KiTS21: kidney, tumour and cyst in CT, 300 training cases, three annotators joined",
        tolerances_mm={"kidney_and_mass": 2.1780822681004897, "mass": 1.3929527150618852, "tumor": 1.536272517110166},
        samples="segmentation_samples/group*/*.nii.gz",
    ),
    "23": Release(
        year="23",
        dataset_id=220,
        dataset_name="KiTS2023",
        data_folders=("dataset",),
        label_files={"": "segmentation.nii.gz"},
        labels=(Label.KIDNEY, Label.TUMOR, Label.CYST),
        training=(range(0, 300), range(400, 589)),
        test=(range(589, 699),),
        reference=KITS21_PAPER,
        url="https://github.com/neheller/kits23",
        description="KiTS23: kidney, tumour and cyst in corticomedullary and nephrogenic CT, 489 training cases",
        tolerances_mm={"kidney_and_mass": 1.0330772532390826, "mass": 1.1328796488598762, "tumor": 1.1498198361434828},
    ),
}
"""Year -> release."""

DEFAULT_YEAR = "23"
"""The year that is meant where nothing tells it."""


def release_of(year: str) -> Release:
    """The release of a year, written ``23`` or ``2023``.

    Raises:
        KitsError: no such year.
    """
    found = RELEASES.get(str(year).removeprefix("20"))
    if found is None:
        raise KitsError(f"There is no KiTS release of year {year!r}. Known: {', '.join(RELEASES)}.")
    return found


def editions_with(number: int) -> list[str]:
    """Names of the editions that number a case so."""
    return [r.edition for r in RELEASES.values() if r.is_training(number) or r.is_test(number)]


def places(release: Release | None = None) -> tuple[str, ...]:
    """Folders below a repository's root to look for cases in: the root, a year's own, then the others'."""
    every = (folder for other in RELEASES.values() for folder in other.data_folders)
    return tuple(dict.fromkeys((".", *(release.data_folders if release else ()), *every)))


def reference_files() -> tuple[str, ...]:
    """Names of the label maps that are scored against, over all years."""
    return tuple(dict.fromkeys(release.label_file(None) for release in RELEASES.values()))


def image_files() -> tuple[str, ...]:
    """Names of the CTs, over all years."""
    return tuple(dict.fromkeys(release.image_file for release in RELEASES.values()))


def editions_that_label(label: Label) -> list[str]:
    """Names of the editions whose label maps may hold a label."""
    return [release.edition for release in RELEASES.values() if label in release.labels]


def either(words: Sequence[str]) -> str:
    """Words as a choice: ``KiTS19, KiTS21 or KiTS23``."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
