"""What every registered loss must do, whichever it is."""

import pydoc

import pytest
import torch

from nnunet_kits.losses import DEFAULT_LOSS, LOSSES, LossTask

SHAPE = (2, 8, 8, 8)


def target_for(task, value):
    """A target of class ``value``, in the form nnU-Net hands to a loss."""
    if not task.has_regions:
        return torch.full((SHAPE[0], 1, *SHAPE[1:]), float(value))
    channels = [torch.full(SHAPE, float(value >= region)) for region in (1, 2, 3)]
    if task.ignore_label is not None:
        channels.append(torch.zeros(SHAPE))
    return torch.stack(channels, 1)


def logits_for(task, value, confidence):
    heads = 3 if task.has_regions else 4
    logits = torch.full((SHAPE[0], heads, *SHAPE[1:]), -confidence)
    if task.has_regions:
        logits[:, :value] = confidence
    else:
        logits[:, value] = confidence
    return logits


@pytest.fixture(params=list(LOSSES))
def build(request):
    return pydoc.locate(LOSSES[request.param])


@pytest.fixture(params=[(False, None), (False, 4), (True, None), (True, 4)], ids=str)
def task(request):
    return LossTask(*request.param, batch_dice=False, ddp=False)


def test_the_default_is_registered():
    assert DEFAULT_LOSS in LOSSES


def test_a_perfect_map_costs_less_than_a_wrong_one(build, task):
    loss = build(task)
    perfect = loss(logits_for(task, 3, 20.0), target_for(task, 3))
    wrong = loss(logits_for(task, 1, 20.0), target_for(task, 3))
    assert perfect < wrong
    assert loss(logits_for(task, 3, 20.0), target_for(task, 3)) == pytest.approx(-1, abs=0.01)  # Dice counts as -1


def test_loss_and_gradient_are_finite_at_extreme_logits_and_on_empty_targets(build, task):
    for value in (0, 2):
        logits = (torch.randn(logits_for(task, 0, 1.0).shape) * 1e4).requires_grad_()
        loss = build(task)(logits, target_for(task, value))
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


def test_ignored_voxels_get_no_gradient(build):
    for has_regions in (False, True):
        task = LossTask(has_regions, 4, batch_dice=False, ddp=False)
        target = target_for(task, 2)
        if has_regions:
            target[:, -1, 0] = 1
        else:
            target[:, :, 0] = 4
        logits = torch.randn(logits_for(task, 0, 1.0).shape, requires_grad=True)
        build(task)(logits, target).backward()
        assert torch.count_nonzero(logits.grad[:, :, 0]) == 0
        assert torch.count_nonzero(logits.grad[:, :, 1:]) > 0
