import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from nnunet_kits.errors import TrainingError
from nnunet_kits.training.optimisation import DEFAULT_OPTIMISATION, OPTIMISATIONS, build, configured
from nnunet_kits.training.schedules import Plateau, is_lowest, moving_average, stalls

LOSSES = st.lists(st.floats(-2, 2), max_size=60)


def torchs_rates(losses, plateau, initial_lr):
    """The rate after every loss, by torch's own scheduler, which waits one epoch more than its patience says."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=initial_lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=plateau.factor, patience=plateau.patience - 1, threshold=plateau.min_delta,
        threshold_mode="abs", min_lr=plateau.floor, eps=0, cooldown=plateau.cooldown,
    )  # fmt: skip
    for loss in losses:
        scheduler.step(loss)
    return optimizer.param_groups[0]["lr"]


@settings(deadline=None, max_examples=25)
@given(
    LOSSES,
    st.integers(1, 6),
    st.floats(0.1, 0.9),
    st.sampled_from([0, 0.005, 0.3]),
    st.sampled_from([0, 1e-5]),
    st.integers(0, 7),
)
def test_a_plateau_lowers_the_rate_when_torchs_scheduler_does(losses, patience, factor, min_delta, floor, cooldown):
    plateau = Plateau("val_losses", patience, factor, min_delta, floor=floor, cooldown=cooldown)
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


def zhangs_rates(losses, rate):
    """The rate after every epoch, step by step as Zhang's training loop sets it.

    Source: author's repository Yichizz/unet3d_kits19 @ db3054a, ``train/engine.py``: moving average with 0.9 for the
    past, and its second way to adjust the rate.
    """
    averages, rates, changed, average = [], [], 0, 0
    for epoch, loss in enumerate(losses):
        average = loss if average == 0 else 0.9 * average + 0.1 * loss
        averages.append(average)
        if epoch > 31 and rate > 1e-6 and epoch > changed + 5 and averages[-31] <= min(averages[-30:]):
            changed = epoch
            rate = rate * 0.2
        rates.append(rate)
    return rates


ZHANG = {"past_weight": 0.9, "min_delta": 0, "cooldown": 5, "floor": 1e-6, "reference": "before"}


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(0, 90), st.floats(0, 0.05))
def test_with_zhangs_plateau_every_rate_is_that_of_the_authors_loop(seed, falling, noise):
    rng = np.random.default_rng(seed)
    losses = [*np.linspace(2, 1, falling), *[1.0] * (140 - falling)] + noise * rng.standard_normal(140)
    plateau = configured("AdamPlateauTrain", plateau=ZHANG).schedule
    found = [plateau.rate(losses[: epoch + 1], 5e-4) for epoch in range(140)]
    assert found == pytest.approx(zhangs_rates(losses, 5e-4), rel=1e-12)


def test_zhangs_rate_falls_every_six_epochs_while_it_is_above_the_floor_and_ends_below_it():
    plateau = configured("AdamPlateauTrain", plateau=ZHANG).schedule
    found = [plateau.rate([1.0] * epochs, 5e-4) for epochs in (32, 33, 38, 39, 45, 51, 600)]
    assert found == pytest.approx([5e-4, 1e-4, 1e-4, 2e-5, 4e-6, 8e-7, 8e-7])


def test_what_is_not_given_of_an_optimisation_stays_its_own():
    own = OPTIMISATIONS["AdamPlateauVal"]
    assert configured("AdamPlateauVal") == own
    other = configured("AdamPlateauVal", 0.1, 0, {"patience": 3})
    assert (other.lr, other.weight_decay, other.schedule.patience) == (0.1, 0, 3)
    assert (other.optimizer, other.schedule.factor, other.schedule.floor) == ("Adam", 0.8, 1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamWCosine"])
def test_a_plateau_for_an_optimisation_that_has_none_is_refused(name):
    with pytest.raises(TrainingError, match=f"optimisation {name} has none.* AdamPlateauTrain or AdamPlateauVal"):
        configured(name, plateau={"patience": 3})


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
    optimizer, scheduler = build(configured(name), [weights], 200, log.__getitem__)
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
    again, fresh = build(configured(name), [weights], 200, log.__getitem__)
    for epoch in (150, 7, 199):
        fresh.step(epoch)
        assert again.param_groups[0]["lr"] == rates[epoch]


@pytest.mark.parametrize("name", [name for name in OPTIMISATIONS if name != DEFAULT_OPTIMISATION])
def test_the_first_rate_can_be_given(name):
    found = configured(name, initial_lr=0.25)
    optimizer, scheduler = build(found, [torch.nn.Parameter(torch.ones(1))], 10, lambda _: [])
    scheduler.step(0)
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert optimizer.param_groups[0]["weight_decay"] == OPTIMISATIONS[name].weight_decay
