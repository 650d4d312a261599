import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from nnunet_kits.training.optimisation import DEFAULT_OPTIMISATION, OPTIMISATIONS, build
from nnunet_kits.training.schedules import Plateau, is_lowest, moving_average, stalls

LOSSES = st.lists(st.floats(-2, 2), max_size=60)


def torchs_rates(losses, plateau, initial_lr):
    """The rate after every loss, by torch's own scheduler, which waits one epoch more than its patience says."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=initial_lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=plateau.factor, patience=plateau.patience - 1, threshold=plateau.min_delta,
        threshold_mode="abs", min_lr=plateau.floor, eps=0,
    )  # fmt: skip
    for loss in losses:
        scheduler.step(loss)
    return optimizer.param_groups[0]["lr"]


@settings(deadline=None, max_examples=25)
@given(LOSSES, st.integers(1, 6), st.floats(0.1, 0.9), st.sampled_from([0, 0.005, 0.3]), st.sampled_from([0, 1e-5]))
def test_a_plateau_lowers_the_rate_when_torchs_scheduler_does(losses, patience, factor, min_delta, floor):
    plateau = Plateau("val_losses", patience, factor, min_delta, floor=floor)
    assert plateau.rate(losses, 1e-3) == pytest.approx(torchs_rates(losses, plateau, 1e-3))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=40), st.floats(0, 0.99))
def test_the_moving_average_is_the_recursive_filter(losses, past_weight):
    expected = lfilter([1 - past_weight], [1, -past_weight], losses, zi=[past_weight * losses[0]])[0]
    assert moving_average(losses, past_weight) == pytest.approx(expected, abs=1e-12)


def test_stalls_count_from_the_last_improvement_and_again_from_every_stall():
    assert stalls([1.0, 0.9, 0.95, 0.95], 3) == (0, 2)
    assert stalls([1.0, 0.9, 0.95, 0.95, 0.95], 3) == (1, 0)
    assert stalls([1.0, 0.9, *[0.95] * 7], 3) == (2, 1)
    assert stalls([1.0, 0.9, *[0.95] * 7, 0.8, 0.9], 3) == (2, 1)
    assert stalls([1.0, 0.996, 0.992], 2, min_delta=0.005) == (0, 0)
    assert stalls([1.0, 0.996, 0.996], 2, min_delta=0.005) == (1, 0)
    assert stalls([], 3) == (0, 0)


def test_a_loss_that_is_no_number_is_no_improvement_and_leaves_the_average_alone():
    assert stalls([1.0, math.nan, math.nan], 2) == (1, 0)
    assert moving_average([1.0, math.nan, 0.0], 0.5) == [1.0, 1.0, 0.5]
    assert moving_average([math.nan, 1.0], 0.5)[1] == 1.0
    assert not is_lowest([1.0, math.nan])
    assert is_lowest([math.nan, 1.0])


def test_a_loss_as_low_as_one_before_is_not_the_lowest():
    assert [is_lowest([2.0, 1.0, 1.0][:n]) for n in (1, 2, 3)] == [True, True, False]


def test_zhangs_rate_falls_to_a_fifth_after_thirty_epochs_without_a_better_average():
    plateau = OPTIMISATIONS["AdamPlateauTrain"].schedule
    falling = list(np.linspace(1, 0.5, 20))
    rates = [plateau.rate([*falling, *[2.0] * n], 3e-4) for n in (0, 29, 30, 59, 60)]
    assert rates == pytest.approx([3e-4, 3e-4, 6e-5, 6e-5, 1.2e-5])


def test_chens_rate_falls_to_four_fifths_after_thirty_epochs_and_never_below_a_millionth():
    plateau = OPTIMISATIONS["AdamPlateauVal"].schedule
    slowly = [1 - 0.004 * (epoch % 2) for epoch in range(31)]  # better by less than 0.005
    assert [plateau.rate(slowly[:n], 1e-4) for n in (30, 31)] == pytest.approx([1e-4, 8e-5])
    assert plateau.rate([1.0] * 3000, 1e-4) == pytest.approx(1e-6)
    assert plateau.rate([1.0] * 3000, 1e-7) == pytest.approx(1e-7)


@pytest.mark.parametrize("name", [name for name in OPTIMISATIONS if name != DEFAULT_OPTIMISATION])
def test_every_optimisation_steps_from_its_first_rate_and_its_rate_follows_from_epoch_and_losses_alone(name):
    weights = torch.nn.Parameter(torch.ones(3))
    log = {"train_losses": list(np.random.default_rng(0).normal(size=200))}
    log["val_losses"] = log["train_losses"][::-1]
    optimizer, scheduler = build(name, [weights], 200, log.__getitem__)
    rates = []
    for epoch in range(200):
        scheduler.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] == OPTIMISATIONS[name].lr
    assert all(0 < rate <= rates[0] for rate in rates)
    scheduler.step(0)
    weights.sum().backward()
    optimizer.step()
    assert torch.isfinite(weights).all()
    assert (weights != 1).all()
    again, fresh = build(name, [weights], 200, log.__getitem__)
    for epoch in (150, 7, 199):
        fresh.step(epoch)
        assert again.param_groups[0]["lr"] == rates[epoch]


@pytest.mark.parametrize("name", [name for name in OPTIMISATIONS if name != DEFAULT_OPTIMISATION])
def test_the_first_rate_can_be_given(name):
    optimizer, scheduler = build(name, [torch.nn.Parameter(torch.ones(1))], 10, lambda _: [], initial_lr=0.25)
    scheduler.step(0)
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert optimizer.param_groups[0]["weight_decay"] == OPTIMISATIONS[name].weight_decay
