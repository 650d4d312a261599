import dataclasses
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_kits.architectures import NETWORKS
from nnunet_kits.cli.main import main
from nnunet_kits.errors import TrainerNameError
from nnunet_kits.losses import LOSSES
from nnunet_kits.planning.presets import preset_names
from nnunet_kits.training.names import MIXUP, TrainerName, heads, is_ours, near_miss, parse_trainer_name, trainer_of
from nnunet_kits.training.optimisation import OPTIMISATIONS
from nnunet_kits.training.published import PUBLISHED
from nnunet_kits.training.sampling import SAMPLINGS
from nnunet_kits.training.settings import training_settings
from nnunet_kits.training.trainers import NAMED_TRAINERS


@given(
    st.builds(
        dataclasses.replace,
        st.sampled_from(heads()).map(trainer_of),
        loss=st.sampled_from(list(LOSSES)),
        sampling=st.sampled_from(list(SAMPLINGS)),
        optimisation=st.sampled_from(list(OPTIMISATIONS)),
        epochs=st.integers(1, 5000),
        previous_trainer=st.sampled_from([None, "nnUNetTrainer", "PlainUNetTrainer_20epochs", "ZhangResUNetTrainer"]),
    ),
    st.booleans(),
)
def test_every_composition_has_one_name_that_parses_back_to_it(parts, mixup):
    parts = dataclasses.replace(parts, mixup=parts.mixup or mixup)
    if str(dataclasses.replace(parts, previous_trainer=None)) == parts.previous_trainer:
        parts = dataclasses.replace(parts, previous_trainer=None)  # the same trainer needs no saying
    assert parse_trainer_name(str(parts)) == parts
    assert is_ours(str(parts))
    assert "__" not in str(parts)


def test_no_two_registries_share_a_name():
    names = [*NETWORKS, *LOSSES, *SAMPLINGS, *OPTIMISATIONS, *PUBLISHED, MIXUP]
    assert len(set(names)) == len(names)
    assert not [name for name in names if "_" in name or name.endswith("epochs")]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_systems_parts_are_known_and_can_be_changed_by_name(name):
    parts = parse_trainer_name(name)
    assert parts.network in (*NETWORKS, "PlannedUNet")
    assert (parts.loss in LOSSES, parts.sampling in SAMPLINGS, parts.optimisation in OPTIMISATIONS) == (True,) * 3
    assert PUBLISHED[name].plans in preset_names()
    training_settings({"kits_training": PUBLISHED[name].settings}, name)
    changed = parse_trainer_name(f"{name}_3epochs_after_nnUNetTrainer")
    assert (changed.epochs, changed.previous_trainer) == (3, "nnUNetTrainer")
    assert dataclasses.replace(changed, epochs=parts.epochs, previous_trainer=None) == parts


def test_what_a_published_system_has_already_is_not_written_and_the_default_it_departed_from_can_be():
    assert parse_trainer_name("ChenJinUNetTrainer_SGD").optimisation == "SGD"
    with pytest.raises(TrainerNameError, match="write it ChenJinUNetTrainer_20epochs "):
        parse_trainer_name("ChenJinUNetTrainer_AdamPlateauVal_20epochs")


def test_defaults_are_not_in_the_name():
    assert str(TrainerName("ResUNet")) == "ResUNetTrainer"
    assert parse_trainer_name("ResUNetTrainer_20epochs") == TrainerName("ResUNet", epochs=20)


def test_a_network_whose_name_ends_like_another_is_told_apart():
    assert parse_trainer_name("PreActResUNetTrainer").network == "PreActResUNet"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ResUNetTrainer_AdamWCosin", "Did you mean 'AdamWCosine'"),
        ("ResUNetTrainer_Focalish", f"Losses: {', '.join(LOSSES)}. Samplings: {', '.join(SAMPLINGS)}. "),
        ("ResUNetTrainer_TumourFocus", "Did you mean 'TumorFocus'"),
        ("ResUNetTrainer_mixup", "Did you mean 'Mixup'"),
        ("ResUNetTrainer_AdamWCosine_TumorFocus", "write it ResUNetTrainer_TumorFocus_AdamWCosine"),
        ("ResUNetTrainer_Mixup_Adam", "write it ResUNetTrainer_Adam_Mixup"),
        ("ResUNetTrainer_Foreground", "write it ResUNetTrainer "),
        ("ResUNetTrainer_0epochs", "no part of a trainer's name is called '0epochs'"),
        ("ResUNetTrainer_10epochs_20epochs", "gives the epochs a second time"),
        ("ResUNetTrainer_20epochs_AdamWCosine", "write it ResUNetTrainer_AdamWCosine_20epochs"),
        ("ResUNetTrainer_SGD", "write it ResUNetTrainer "),
        ("ResUNetTrainer_after_", "must be followed by a trainer's name"),
        ("ResUNetTrainer_after_ResUNetTrainer", "write it ResUNetTrainer "),
        ("ResUNetTrainer_after_ResUNetTrainer_Focalish", "ResUNetTrainer_Focalish: no part"),
        ("ResUNetTrainer_after_A__B", "no name may hold it"),
        ("ResNetTrainer", f"Known: {', '.join((*NETWORKS, 'PlannedUNet'))}. "),
        ("ResUNetTrainer_", "is called ''"),
    ],
)
def test_a_wrong_name_is_refused_with_what_is_known(name, message):
    with pytest.raises(TrainerNameError, match=message):
        parse_trainer_name(name)


def test_every_part_is_listed_with_what_it_is(capsys):
    assert main(["trainers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for registry in (NETWORKS, LOSSES, SAMPLINGS, OPTIMISATIONS):
        assert [name for name, part in registry.items() if f"  {name:17} {part.summary}" not in lines] == []


def test_names_of_others_are_not_ours():
    for name in ("nnUNetTrainer", "nnUNetTrainer_250epochs", "ResUNet", "ResUNetTrainerX", "MyResUNetTrainer"):
        assert not is_ours(name)


def test_a_near_miss_is_suggested_with_the_rest_of_the_name():
    assert near_miss("ResUnetTrainer_20epochs") == "ResUNetTrainer_20epochs"
    assert near_miss("ZhangResUnetTrainer") == "ZhangResUNetTrainer"
    assert near_miss("nnUNetTrainer_mine") is None
    assert near_miss("SwinTrainer") is None


def test_the_name_parser_needs_no_torch():
    code = "import sys, nnunet_kits.training.names, nnunet_kits.training.trainers; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_trainer_classes_are_one_object_each_and_pickle_into_a_fresh_process():
    from nnunet_kits.training import trainers

    names = [*NAMED_TRAINERS, "ResUNetTrainer_AdamWCosine_3epochs_after_nnUNetTrainer"]
    found = [getattr(trainers, name) for name in names]
    assert [c.__name__ for c in found] == names
    assert all(c is trainers.trainer_class(name) for c, name in zip(found, names, strict=True))
    code = "import pickle, sys; print(*(c.__name__ for c in pickle.loads(sys.stdin.buffer.read())))"
    result = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(found), capture_output=True)
    assert result.stdout.decode().split() == names, result.stderr.decode()
