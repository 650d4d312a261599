"""Finding the cases of a KiTS folder, and noticing another year's folder."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.cases import finding
from nnunet_kits.errors import ConversionError
from nnunet_kits.releases import RELEASES, Release, editions_with, either


@dataclass(frozen=True)
class Case:
    """One patient's files in a KiTS folder; they need not exist.

    Attributes:
        name: ``case_00003``, the same in the KiTS folder and in nnU-Net's.
        image: the CT.
        label: the label map; None for a test case.
    """

    name: str
    image: Path
    label: Path | None

    @property
    def number(self) -> int:
        """The case's number."""
        return case_number(self.name)


def case_number(name: str) -> int:
    """3 for ``case_00003``."""
    return int(name.removeprefix("case_"))


def numbers_of(words: Iterable[str], release: Release) -> set[int]:
    """Case numbers from ``68``, ``case_00068`` and ``known-bad``, which is all that the year is known for.

    Raises:
        ConversionError: a word that is none of these.
    """
    numbers: set[int] = set()
    for word in words:
        if word == "known-bad":
            numbers |= set(release.known_bad)
        elif word.removeprefix("case_").isdecimal():
            numbers.add(int(word.removeprefix("case_")))
        else:
            raise ConversionError(f"--exclude {word}: not a case. Write 68, case_00068 or known-bad.")
    return numbers


def data_folder(release: Release, source: Path) -> Path:
    """The folder that holds the case folders: ``source`` itself, or the release's data folder below it.

    Raises:
        ConversionError: no such folder, or no case in it.
    """
    if not source.is_dir():
        raise ConversionError(f"{source}: no such folder. Name the {release.edition} repository or its data folder.")
    found = finding.data_folder(source, release)
    if found is not None:
        return found
    raise ConversionError(
        f"{source}: no case_00000, case_00001, ... folder here or in {', '.join(release.data_folders)}. "
        f"Name the {release.edition} repository or its data folder ({release.url})."
    )


def find_cases(
    release: Release, source: Path, aggregation: str | None = None, exclude: Collection[int] = ()
) -> list[Case]:
    """All cases below a repository's root or its data folder, in the order of their numbers.

    Args:
        release: the year asked for.
        source: repository root or data folder.
        aggregation: for KiTS21, which label map; None for the default.
        exclude: case numbers to leave out.

    Raises:
        ConversionError: no cases, or the folder is another year's.
    """
    label_file = release.label_file(aggregation)
    folders = finding.case_folders(data_folder(release, source))
    cases = []
    for folder in folders:
        number = case_number(folder.name)
        if number in exclude:
            continue
        _check_edition(release, folder, number)
        label = folder / label_file if release.is_training(number) else None
        cases.append(Case(folder.name, folder / release.image_file, label))
    if not cases:
        raise ConversionError(f"{source}: all {len(folders)} cases are excluded, nothing is left to convert.")
    return cases


def missing_file(release: Release, case: Case) -> str | None:
    """One line that says which file of a case is missing, or None."""
    if not case.image.exists():
        return (
            f"{case.name}: {case.image} is missing. The labels come with the repository, "
            f"the images from its download script ({release.url})."
        )
    if case.label is not None and not case.label.exists():
        without = [f"--year {r.year}" for r in RELEASES.values() if r.is_test(case.number)]
        hint = f", or is it {either(without)}, which has no label for it?" if without else "."
        return f"{case.name}: {case.label} is missing, but {release.edition} labels this case. Get it again{hint}"
    return None


def _check_edition(release: Release, folder: Path, number: int) -> None:
    """Refuse a case that only another year can have."""
    own = release.label_files.values()
    for other in RELEASES.values():
        for name in other.label_files.values():
            if name not in own and (folder / name).exists():
                same = [r for r in RELEASES.values() if name in r.label_files.values()]
                raise ConversionError(
                    f"{folder.name}: {name} belongs to {either([r.edition for r in same])}, but "
                    f"{release.edition} was asked for. Use {either([f'--year {r.year}' for r in same])}."
                )
    label = folder / release.label_file(None)
    if release.is_training(number) or (release.is_test(number) and not label.exists()):
        return
    if release.is_test(number):
        reason = f"has {label.name}, but it is a test case of {release.edition}, published without one"
        likely = [r.edition for r in RELEASES.values() if r.is_training(number)]
    else:
        reason = f"is not a case number of {release.edition}"
        likely = editions_with(number)
    hint = f"This looks like {either(likely)}: use its --year" if likely else "No KiTS edition has it"
    raise ConversionError(f"{folder.name}: {reason}. {hint}, or leave it out with --exclude {number}.")
