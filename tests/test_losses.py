"""What every registered loss must do, whichever it is: a new entry of LOSSES is checked untouched."""

import pydoc
import re

import pytest
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper

from nnunet_kits.errors import TrainingError
from nnunet_kits.losses import DEFAULT_LOSS, LOSSES, LossTask
from nnunet_kits.losses.build import build_loss, loss_parameters

SIZE = (4, 6, 8)
IGNORED = 4
TASKS = {
    "classes": LossTask(False, None, batch_dice=False, ddp=False),
    "classes, ignore, batch dice": LossTask(False, IGNORED, batch_dice=True, ddp=False),
    "regions, batch dice": LossTask(True, None, batch_dice=True, ddp=False),
    "regions, ignore": LossTask(True, IGNORED, batch_dice=False, ddp=False),
}


def labels(size=SIZE, cases=2):
    """A label map (b, 1, ...) of 0 to 3 in blocks, all four in every case."""
    torch.manual_seed(0)
    coarse = torch.stack([torch.randperm(4).view(2, 2) for _ in range(cases)])[:, None]
    coarse = torch.nn.functional.interpolate(coarse.float(), size[-2:], mode="nearest")
    return coarse if len(size) == 2 else coarse[:, :, None].expand(-1, -1, size[0], -1, -1).clone()


def target_of(task, label_map, ignored=None):
    """A target in the form that nnU-Net hands to a loss; ``ignored`` is a mask (b, 1, ...)."""
    if ignored is None:
        ignored = torch.zeros_like(label_map, dtype=torch.bool)
    if not task.has_regions:
        return label_map.masked_fill(ignored, IGNORED)
    channels = [label_map >= region for region in (1, 2, 3)]
    return torch.cat([*channels, ignored] if task.ignore_label is not None else channels, 1).float()


def logits_of(task, label_map, confidence):
    """Logits that are sure of a label map."""
    truth = target_of(LossTask(task.has_regions, None, False, False), label_map)
    if not task.has_regions:
        truth = torch.cat([truth == value for value in range(4)], 1)
    return (truth.float() * 2 - 1) * confidence


def random_logits(task, size=SIZE, cases=2, scale=1.0, dtype=torch.float32):
    torch.manual_seed(1)
    return (torch.randn(cases, 3 if task.has_regions else 4, *size, dtype=dtype) * scale).requires_grad_()


def first_slab(like):
    """A mask (b, 1, ...) of the first plane, line or column."""
    mask = torch.zeros_like(like[:, :1], dtype=torch.bool)
    mask[:, :, 0] = True
    return mask


@pytest.fixture(params=list(LOSSES))
def name(request):
    return request.param


@pytest.fixture(params=list(TASKS.values()), ids=list(TASKS))
def task(request):
    return request.param


@pytest.fixture
def loss(name, task):
    return build_loss(name, weighted(task))


def weighted(task):
    """The task with unequal class weights, so that losses which take them are tested with them."""
    weights = (2.0, 0.5, 3.0) if task.has_regions else (1.0, 2.0, 0.5, 3.0)
    return LossTask(task.has_regions, task.ignore_label, task.batch_dice, task.ddp, weights)


# the registry


def test_the_default_is_registered():
    assert DEFAULT_LOSS in LOSSES


def test_only_the_losses_that_are_said_to_be_weighted_look_at_class_weights(name, task):
    logits, target = random_logits(task), target_of(task, labels())
    plain, unequal = (build_loss(name, given)(logits, target).item() for given in (task, weighted(task)))
    assert (plain != unequal) == LOSSES[name].weighted


def test_a_loss_can_be_part_of_a_trainers_name_and_builds_from_the_task_alone(name):
    assert re.fullmatch(r"[A-Z][A-Za-z]*", name)
    assert isinstance(pydoc.locate(LOSSES[name].factory)(LossTask(False, None, True, False)), torch.nn.Module)


# values


def test_a_perfect_map_is_a_minimum_and_each_further_error_costs_more(loss, task):
    truth = labels()
    target = target_of(task, truth)
    wrong = (truth + 1) % 4
    costs = []
    for errors in (0, 2, 4, 8):
        guess = truth.clone()
        guess[..., :errors] = wrong[..., :errors]
        costs.append(loss(logits_of(task, guess, 20.0), target).item())
    assert costs == sorted(set(costs))
    assert min(abs(costs[0]), abs(costs[0] + 1)) < 0.01  # 0, or -1 where Dice is subtracted as nnU-Net does
    perfect = logits_of(task, truth, 20.0).requires_grad_()
    loss(perfect, target).backward()
    assert perfect.grad.abs().max() < 1e-4


def test_descending_the_gradient_finds_the_truth(loss, task):
    truth = labels()
    logits = torch.zeros_like(logits_of(task, truth, 1.0), requires_grad=True)
    for _ in range(5):
        (gradient,) = torch.autograd.grad(loss(logits, target_of(task, truth)), logits)
        logits = (logits - gradient.sign()).detach().requires_grad_()
    found = logits.detach() > 0 if task.has_regions else logits.detach().argmax(1, keepdim=True)
    expected = logits_of(task, truth, 1.0)
    assert torch.equal(found, expected > 0 if task.has_regions else expected.argmax(1, keepdim=True))


def test_a_plane_costs_the_same_in_2d_and_as_a_volume_of_one_slice(loss, task):
    truth = labels(SIZE[1:])
    logits = random_logits(task, SIZE[1:])
    flat = loss(logits, target_of(task, truth))
    volume = loss(logits[:, :, None], target_of(task, truth)[:, :, None])
    assert flat.item() == pytest.approx(volume.item(), rel=1e-6)


def test_every_type_of_target_that_nnunet_may_give_costs_the_same(loss, task):
    target = target_of(task, labels())
    logits = random_logits(task)
    types = (torch.int16, torch.int64, torch.bool) if task.has_regions else (torch.int16, torch.int64, torch.uint8)
    if task.has_regions and task.ignore_label is not None:
        types = (torch.bool, torch.int16)
    for dtype in types:
        assert loss(logits, target.to(dtype)).item() == pytest.approx(loss(logits, target).item(), rel=1e-6)


def test_logits_and_target_are_left_as_they_were_and_the_gradient_can_be_asked_for_twice(loss, task):
    logits, target = random_logits(task), target_of(task, labels())
    before = logits.detach().clone(), target.clone()
    value = loss(logits, target)
    first = torch.autograd.grad(value, logits, retain_graph=True)[0].clone()
    second = torch.autograd.grad(value, logits)[0]
    assert torch.equal(first, second)
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])


def test_batch_dice_of_two_equal_cases_is_dice_per_case(name):
    for has_regions in (False, True):
        per_case, batch = (LossTask(has_regions, None, b, False) for b in (False, True))
        logits, target = (x[:1].expand(2, *x.shape[1:]) for x in (random_logits(batch), target_of(batch, labels())))
        costs = [build_loss(name, task)(logits, target).item() for task in (per_case, batch)]
        assert costs[0] == pytest.approx(costs[1], rel=1e-5)


def test_deep_supervision_sums_the_resolutions_and_leaves_out_the_lowest(loss, task):
    sizes = ((4, 8, 8), (2, 4, 4), (1, 2, 2))
    logits = [random_logits(task, size) for size in sizes]
    target = [target_of(task, labels(size)) for size in sizes]
    value = DeepSupervisionWrapper(loss, (2 / 3, 1 / 3, 0))(logits, target)
    value.backward()
    alone = [loss(x, y).item() for x, y in zip(logits, target, strict=True)]
    assert value.item() == pytest.approx(2 / 3 * alone[0] + 1 / 3 * alone[1], rel=1e-5)
    assert [x.grad is not None and bool(x.grad.any()) for x in logits] == [True, True, False]


# numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_loss_and_gradient_are_finite_at_extreme_logits_and_where_a_class_is_missing(loss, task, dtype):
    for value in (0, 2):
        target = target_of(task, torch.full_like(labels(), float(value)))
        for scale in (1.0, 1e4):
            logits = random_logits(task).detach().mul(scale).clamp(-65504, 65504).to(dtype).requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
                cost = loss(logits, target)
            cost.backward()
            assert torch.isfinite(cost)
            assert cost.dtype == torch.float32
            assert torch.isfinite(logits.grad).all()


def test_mixed_precision_costs_what_full_precision_costs(loss, task):
    target = target_of(task, labels())
    logits = random_logits(task).detach().to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        half = loss(logits, target).item()
    assert half == pytest.approx(loss(logits.float(), target).item(), abs=0.01)


def test_the_gradient_is_that_of_finite_differences(name, task):
    if name == DEFAULT_LOSS:
        pytest.skip("nnU-Net's own Dice sums in float32")
    loss = build_loss(name, weighted(task))
    size = (2, 3, 2)
    target = target_of(task, torch.arange(24).view(2, 1, *size) % 4, None)
    if task.ignore_label is not None:
        target = target_of(task, torch.arange(24).view(2, 1, *size) % 4, first_slab(target))
    logits = random_logits(task, size, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits, fast_mode=True)


# ignored voxels


@pytest.mark.parametrize("has_regions", [False, True], ids=["classes", "regions"])
def test_ignored_voxels_get_no_gradient_and_their_contents_do_not_matter(name, has_regions):
    task = LossTask(has_regions, IGNORED, not has_regions, False)
    loss = build_loss(name, weighted(task))
    target = target_of(task, labels(), first_slab(labels()))
    logits = random_logits(task)
    cost = loss(logits, target)
    cost.backward()
    assert torch.count_nonzero(logits.grad[:, :, 0]) == 0
    assert torch.count_nonzero(logits.grad[:, :, 1:]) > 0
    other = logits.detach().clone()
    other[:, :, 0] *= -50
    if has_regions:
        target[:, :-1, 0] = 1 - target[:, :-1, 0]
    assert loss(other, target).item() == pytest.approx(cost.item(), rel=1e-6)


@pytest.mark.parametrize("has_regions", [False, True], ids=["classes", "regions"])
def test_ignoring_voxels_is_as_if_they_were_cut_off(name, has_regions):
    if name == DEFAULT_LOSS and has_regions:
        pytest.skip("nnU-Net's own adds up the regions with an ignore label, and takes their mean without")
    ignoring, plain = (LossTask(has_regions, label, has_regions, False) for label in (IGNORED, None))
    logits, truth = random_logits(plain), labels()
    kept = build_loss(name, weighted(plain))(logits[:, :, 1:], target_of(plain, truth[:, :, 1:]))
    cost = build_loss(name, weighted(ignoring))(logits, target_of(ignoring, truth, first_slab(truth)))
    assert cost.item() == pytest.approx(kept.item(), rel=1e-5)


@pytest.mark.parametrize("has_regions", [False, True], ids=["classes", "regions"])
def test_a_batch_with_nothing_but_ignored_voxels_has_a_finite_loss_and_no_gradient(name, has_regions):
    task = LossTask(has_regions, IGNORED, not has_regions, False)
    logits = random_logits(task)
    everywhere = torch.ones_like(labels(), dtype=torch.bool)
    cost = build_loss(name, weighted(task))(logits, target_of(task, labels(), everywhere))
    cost.backward()
    assert torch.isfinite(cost)
    assert torch.count_nonzero(logits.grad) == 0


# bad input


def test_an_unknown_loss_is_refused():
    with pytest.raises(TrainingError, match=rf"no loss is called 'Dise'\. Known: {', '.join(LOSSES)}\."):
        build_loss("Dise", LossTask(False, None, True, False))


def test_an_unknown_parameter_is_refused(name):
    allowed = re.escape(f"It has: {', '.join(loss_parameters(name)) or 'none'}.")
    with pytest.raises(TrainingError, match=f"loss {name} has no parameter 'sigma'. {allowed}"):
        build_loss(name, LossTask(False, None, True, False), {"sigma": 1})


def test_every_parameter_has_a_default_that_is_allowed_and_a_range(name):
    task = LossTask(False, None, True, False)
    build_loss(name, task, loss_parameters(name))
    for parameter in loss_parameters(name):
        for value in (-1, 1e9, float("nan")):
            with pytest.raises(TrainingError, match=f"loss {name}: parameter {parameter} is {value}, but must be"):
                build_loss(name, task, {parameter: value})
        with pytest.raises(TrainingError, match=f"parameter {parameter} is 'much', but must be a number"):
            build_loss(name, task, {parameter: "much"})


def test_a_width_that_is_not_whole_is_refused():
    with pytest.raises(TrainingError, match=r"loss DiceCEBoundary: parameter width is 1.5, but must be a whole number"):
        build_loss("DiceCEBoundary", LossTask(False, None, True, False), {"width": 1.5})
