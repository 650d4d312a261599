"""Class weights that somebody states."""

import pytest

from nnunet_kits.errors import TrainingError
from nnunet_kits.training.weights import stated_weights

CLASSES = ["background", "kidney", "tumor", "cyst"]
REGIONS = ["kidney_and_mass", "mass", "tumor"]
ALL = {"background": 0.5, "kidney": 1, "tumor": 1.5, "cyst": 1.25, "kidney_and_mass": 2, "mass": 3}


@pytest.mark.parametrize(
    ("given", "outputs", "expected"),
    [
        ("frequencies", CLASSES, None),
        ("equal", REGIONS, [1, 1, 1]),
        ([1, 2, 3.5, 4], CLASSES, [1, 2, 3.5, 4]),
        (ALL, CLASSES, [0.5, 1, 1.5, 1.25]),
        (ALL, CLASSES[:3], [0.5, 1, 1.5]),
        (ALL, REGIONS, [2, 3, 1.5]),
    ],
)
def test_weights_are_a_list_an_object_of_names_or_a_word(given, outputs, expected):
    assert stated_weights("here", given, outputs) == expected


@pytest.mark.parametrize(
    "given",
    [
        [1, 2],
        [1.0, 2.0, 0.0, 1.0],
        [1, 2, -3, 1],
        [1.0, 2.0, float("inf"), 1.0],
        [1.0, 2.0, float("nan"), 1.0],
        [1.0, 2.0, "3", 1.0],
        [1, 2, True, 1],
        {"background": 1, "kidney": 1, "tumour": 1, "cyst": 1},
        {"background": 1, "kidney": 1, "tumor": 0, "cyst": 1},
        "many",
        {},
        [],
    ],
)
def test_weights_that_are_not_one_positive_number_for_each_output_are_refused_with_the_outputs(given):
    wanted = "must be 'frequencies', 'equal', or a list of 4 positive numbers or an object of them"
    with pytest.raises(TrainingError, match=f"here is .*, but {wanted}: .* background, kidney, tumor, cyst"):
        stated_weights("here", given, CLASSES)
