import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_kits.conversion.splits import assign_folds, fold_of, splits_of
from nnunet_kits.errors import ConversionError
from nnunet_kits.releases import RELEASES

numbers = st.sets(st.integers(0, 698), min_size=1, max_size=80)
folds = st.integers(2, 12)


def names(cases) -> list[str]:
    return [f"case_{number:05d}" for number in sorted(cases)]


def test_the_folds_of_the_first_cases_stay_what_they_are():
    assert [fold_of(number) for number in range(15)] == [3, 2, 1, 0, 4, 4, 1, 3, 0, 2, 0, 4, 1, 2, 3]


def test_every_block_of_five_numbers_fills_every_fold_once():
    for block in range(140):
        assert sorted(fold_of(5 * block + i) for i in range(5)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("year", RELEASES)
def test_a_patient_is_in_the_same_fold_in_every_year(year):
    assigned, moved = assign_folds(names(n for n in range(700) if RELEASES[year].is_training(n)))
    assert moved == {}
    assert all(fold == fold_of(int(name[5:])) for name, fold in assigned.items())


def test_the_folds_of_kits23_differ_by_one_case_at_most():
    splits = splits_of(assign_folds(names([*range(300), *range(400, 589)]))[0])
    assert sorted(len(split["val"]) for split in splits) == [97, 98, 98, 98, 98]


@given(numbers, folds)
def test_every_case_is_validated_in_exactly_one_fold_and_trained_in_the_others(cases, count):
    splits = splits_of(assign_folds(names(cases), count)[0])
    assert len(splits) == min(count, len(cases))
    assert sorted(name for split in splits for name in split["val"]) == names(cases)
    for split in splits:
        assert split["val"]
        if len(cases) > 1:
            assert sorted(split["train"] + split["val"]) == names(cases)


@given(numbers, folds)
def test_only_what_fills_an_empty_fold_leaves_the_fold_of_its_number(cases, count):
    assigned, moved = assign_folds(names(cases), count)
    count = min(count, len(cases))
    home = {name: fold_of(int(name[5:]), count) for name in names(cases)}
    assert {name: (home[name], assigned[name]) for name in moved} == moved
    assert all(assigned[name] == home[name] for name in home if name not in moved)
    assert len(moved) == count - len(set(home.values()))


@given(numbers, st.randoms(use_true_random=False))
def test_the_order_in_which_cases_are_found_does_not_matter(cases, random):
    shuffled = names(cases)
    random.shuffle(shuffled)
    assert assign_folds(shuffled) == assign_folds(names(cases))


def test_a_single_case_is_trained_and_validated_on():
    assert splits_of(assign_folds(["case_00007"])[0]) == [{"train": ["case_00007"], "val": ["case_00007"]}]


def test_no_case_gives_no_folds():
    with pytest.raises(ConversionError, match="No training case is left"):
        assign_folds([])


def test_one_fold_is_too_few():
    with pytest.raises(ConversionError, match="1 folds: cross-validation needs at least 2"):
        assign_folds(["case_00000"], folds=1)
