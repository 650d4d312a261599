import re
from pathlib import Path

import pytest

from nnunet_kits.errors import ConversionError, KitsError
from nnunet_kits.labels import Label
from nnunet_kits.releases import RELEASES, editions_with, release_of

SCRIPTS = Path(__file__).resolve().parents[1] / "dataset_conversion"


PUBLISHED = {"19": (210, 90), "21": (300, 100), "23": (489, 110)}
"""Year -> training cases, test cases: by the challenges' own pages."""


@pytest.mark.parametrize("year", RELEASES)
def test_each_year_has_the_published_number_of_cases(year):
    release = RELEASES[year]
    training, test = PUBLISHED[year]
    assert sum(release.is_training(number) for number in range(1000)) == training
    assert sum(release.is_test(number) for number in range(1000)) == test


def test_kits23_has_no_case_between_299_and_400():
    assert not any(RELEASES["23"].is_training(n) or RELEASES["23"].is_test(n) for n in range(300, 400))


def test_kits19_has_no_cyst_label():
    assert RELEASES["19"].labels == (Label.KIDNEY, Label.TUMOR)


def test_the_known_bad_cases_of_kits19_come_with_a_reason():
    assert sorted(RELEASES["19"].known_bad) == [68, 133]
    assert all("faulty annotation" in reason for reason in RELEASES["19"].known_bad.values())


@pytest.mark.parametrize("year", RELEASES)
def test_each_year_has_its_thin_script(year):
    release = RELEASES[year]
    script = SCRIPTS / f"Dataset{release.dataset_id:03d}_{release.dataset_name}.py"
    assert re.search(rf'"--year", "{year}"', script.read_text())


@pytest.mark.parametrize("year", RELEASES)
def test_no_training_case_is_a_test_case(year):
    assert not any(RELEASES[year].is_training(n) and RELEASES[year].is_test(n) for n in range(1000))


def test_a_year_may_be_written_with_four_digits():
    assert release_of("2023") is release_of("23") is RELEASES["23"]


def test_an_unknown_year_names_the_known_ones():
    with pytest.raises(KitsError, match=rf"no KiTS release of year '22'\. Known: {', '.join(RELEASES)}\."):
        release_of("22")


def test_the_majority_is_the_default_of_kits21():
    assert RELEASES["21"].label_file(None) == "aggregated_MAJ_seg.nii.gz"
    assert RELEASES["21"].label_file("OR") == "aggregated_OR_seg.nii.gz"


def test_an_aggregation_that_a_year_does_not_have_is_refused():
    with pytest.raises(ConversionError, match=r"KiTS23 has no aggregation 'OR'.*leave --aggregation away"):
        RELEASES["23"].label_file("OR")
    with pytest.raises(ConversionError, match=r"KiTS21 has no aggregation 'XOR'\. Known for this year: MAJ, AND, OR\."):
        RELEASES["21"].label_file("XOR")


def test_a_case_number_tells_its_editions():
    assert editions_with(5) == ["KiTS19", "KiTS21", "KiTS23"]
    assert editions_with(350) == ["KiTS21"]
    assert editions_with(500) == ["KiTS23"]
    assert editions_with(900) == []
