"""What a file, or the dataset.json beside it, calls its labels: names that cannot be those of KiTS are refused."""

import re
from collections.abc import Iterable

from nnunet_kits.errors import ImageError
from nnunet_kits.labels import Label

ORGANS = frozenset(
    "spleen liver pancreas stomach gallbladder esophagus oesophagus duodenum bowel colon bladder prostate uterus "
    "adrenal aorta vena vein artery lung heart atrium brain bone rib vertebrae sacrum femur hip muscle gluteus "
    "iliopsoas autochthon skin thyroid trachea".split()
)
"""Words for what is no part of a kidney."""

LABEL_WORDS = {
    Label.KIDNEY: frozenset("kidney kidneys parenchyma".split()),
    Label.TUMOR: frozenset("tumor tumors tumour tumours neoplasm cancer".split()),
    Label.CYST: frozenset("cyst cysts".split()),
}
"""Label -> words for it."""

MASS_WORDS = frozenset("mass masses lesion lesions".split())
"""Words for what may be a tumor or a cyst."""

TABLE = re.compile(rb'<Label\s+Key="(\d{1,5})"[^>]*>\s*(?:<!\[CDATA\[)?([^<\]]{1,80})')
"""An entry of the table of labels that Caret, Connectome Workbench and TotalSegmentator write into NIfTI headers."""


def names_in_header(extension: bytes) -> list[tuple[int, str]]:
    """Value and name of each label in the table of a header's extension; none where it holds no table."""
    return [(int(key), name.decode("utf-8", "replace").strip()) for key, name in TABLE.findall(extension)]


def calls_masses(names: Iterable[tuple[int, str]]) -> bool:
    """Whether label maps have masses, cysts too, in the place of tumors: they call them so, and have no cysts.

    Args:
        names: value and name of each label.
    """
    words = {value: set(re.findall(r"[a-z]+", name.lower())) for value, name in names}
    return Label.CYST not in words and bool(words.get(Label.TUMOR, set()) & MASS_WORDS)


def check_names(names: Iterable[tuple[int, str]], where: object) -> None:
    """Refuse label maps whose labels have names that are other structures' than KiTS's labels of these values.

    Args:
        names: value and name of each label. Names of which nothing is known are let pass.
        where: what says so, for the message.

    Raises:
        ImageError: the first such name.
    """
    for value, name in names:
        if value not in list(Label)[1:]:
            continue
        words = set(re.findall(r"[a-z]+", name.lower()))
        meant = {label for label, known in LABEL_WORDS.items() if words & known}
        if words & ORGANS or (len(meant) == 1 and Label(value) not in meant):
            raise ImageError(
                f"{where}: calls label {value} {name!r}, but in KiTS it is {Label(value).name.lower()}, and would be "
                "read as that. Map the labels to 1 kidney, 2 tumor, 3 cyst first."
            )
