"""Losses against formulas written out by hand in float64, against nnU-Net's own classes, and against MONAI's."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss, DC_and_topk_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from scipy.ndimage import maximum_filter
from scipy.spatial.distance import dice as dice_dissimilarity

from nnunet_kits.losses import LossTask
from nnunet_kits.losses.build import build_loss
from nnunet_kits.losses.dice_ce_boundary import boundary_band
from nnunet_kits.losses.dice_ring_ce import share_of_rings
from nnunet_kits.losses.hard_dice import hard_dice

SMOOTH = 1e-5
IGNORED = 4
SHAPE = (3, 5, 8)
CLASS_WEIGHTS = (1.0, 0.5, 4.0, 2.0)
REGION_WEIGHTS = (0.5, 4.0, 2.0)


class Case:
    """One random batch: tensors for a loss, and probabilities, truth and counted voxels in float64 for a formula."""

    def __init__(self, has_regions, ignores, batch_dice, weights=False, dtype=torch.float64, patch_size=None):
        generator = torch.Generator().manual_seed(3)
        self.has_regions, self.batch_dice = has_regions, batch_dice
        heads = 3 if has_regions else 4
        self.task = LossTask(
            has_regions,
            IGNORED if ignores else None,
            batch_dice,
            False,
            (REGION_WEIGHTS if has_regions else CLASS_WEIGHTS) if weights else None,
            patch_size,
        )
        self.logits = torch.randn(2, heads, *SHAPE, generator=generator, dtype=dtype) * 2
        labels = torch.randint(0, 4, (2, 1, *SHAPE), generator=generator)
        ignored = torch.rand(2, 1, *SHAPE, generator=generator) < (0.3 if ignores else 0)
        regions = torch.cat([labels >= r for r in (1, 2, 3)], 1)
        if has_regions:
            self.target = torch.cat([regions, ignored], 1) if ignores else regions
        else:
            self.target = labels.masked_fill(ignored, IGNORED)
        x = self.logits.numpy().astype(np.float64).reshape(2, heads, -1)
        self.counted = ~ignored.numpy().reshape(2, -1)
        if has_regions:
            self.truth = regions.numpy().reshape(2, 3, -1)
            self.p = 1 / (1 + np.exp(-x))
            self.p_true = np.where(self.truth, self.p, 1 - self.p)  # (b, r, v)
        else:
            self.truth = labels.numpy().reshape(2, 1, -1) == np.arange(4)[:, None]
            self.p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
            self.p_true = (self.p * self.truth).sum(1, keepdims=True)  # (b, 1, v)

    def loss(self, name, **parameters):
        return build_loss(name, self.task, parameters)(self.logits, self.target).item()

    def groups(self):
        """Which cases a Dice is computed over: each alone, or all."""
        return [[0, 1]] if self.batch_dice else [[0], [1]]

    def index(self, cases, head, alpha, beta, inside=True):
        """Tversky index of a head, or of what is outside of it, over the counted voxels of some cases."""
        counted = self.counted[cases]
        p, y = self.p[cases, head][counted], self.truth[cases, head][counted]
        p, y = (p, y) if inside else (1 - p, ~y)
        tp, fp, fn = p[y].sum(), p[~y].sum(), (1 - p)[y].sum()
        return (tp + SMOOTH / 2) / (tp + alpha * fp + beta * fn + SMOOTH / 2)

    def foreground(self):
        return range(3) if self.has_regions else range(1, 4)

    def indices(self, alpha=0.5, beta=0.5):
        return [[self.index(cases, head, alpha, beta) for head in self.foreground()] for cases in self.groups()]

    def per_voxel(self, cost):
        """A cost of (p_true, in the foreground or not) at every counted voxel and region, one after the other."""
        in_front = self.truth if self.has_regions else ~self.truth[:, :1]
        values = cost(self.p_true, in_front)
        return np.concatenate([row[:, kept].ravel() for row, kept in zip(values, self.counted, strict=True)])

    def hardest(self, k):
        """Mean cross-entropy of the k per cent of the counted voxels where it is highest."""
        cost = -np.log(self.p_true).mean(1)[self.counted]  # over regions
        return np.sort(cost)[::-1][: int(np.ceil(len(cost) * k / 100))].mean()


def nll(p_true, in_front):
    return -np.log(p_true)


KINDS = [(False, False), (False, True), (True, False), (True, True)]
each_kind = pytest.mark.parametrize(("has_regions", "ignores"), KINDS, ids=lambda value: str(int(value)))
each_dice = pytest.mark.parametrize("batch_dice", [False, True], ids=["case", "batch"])


# by hand


@each_kind
def test_ce_is_the_mean_of_minus_log_of_the_probability_of_the_truth(has_regions, ignores):
    case = Case(has_regions, ignores, True)
    assert case.loss("CE") == pytest.approx(case.per_voxel(nll).mean(), rel=1e-9)


def class_weight(case):
    """What every voxel weighs by its class; with regions by the region inside, and 1 outside."""
    if case.has_regions:
        return np.where(case.truth, np.array(REGION_WEIGHTS)[:, None], 1.0)
    return (case.truth * np.array(CLASS_WEIGHTS)[:, None]).sum(1, keepdims=True)


@each_kind
@each_dice
def test_dice_weighted_ce_by_hand(has_regions, ignores, batch_dice):
    case = Case(has_regions, ignores, batch_dice, weights=True)
    weights = case.per_voxel(lambda p_true, _: class_weight(case))
    ce, dice = (weights * case.per_voxel(nll)).sum() / weights.sum(), np.mean(case.indices())
    assert case.loss("DiceWeightedCE") == pytest.approx(ce - dice, rel=1e-9)
    assert case.loss("DiceWeightedCE", dice=0.25) == pytest.approx(ce - 0.25 * dice, rel=1e-9)
    assert case.loss("DiceWeightedCE", dice=0) == pytest.approx(ce, rel=1e-9)


@each_kind
def test_the_dice_of_the_most_probable_labels_is_scipys_and_adds_no_gradient(has_regions, ignores):
    case = Case(has_regions, ignores, False, weights=True)
    if has_regions:
        pairs = [(case.p[:, r] > 0.5, case.truth[:, r]) for r in (0, 2)]
    else:
        found, truth = case.p.argmax(1), case.truth.argmax(1)
        pairs = [(found > 0, truth > 0), (found == 2, truth == 2)]
    everything, tumor = (1 - dice_dissimilarity(a[case.counted], b[case.counted]) for a, b in pairs)
    logits = case.logits.requires_grad_()
    values, gradients = {}, {}
    for weight in (0, 1, 3):
        loss = build_loss("DiceWeightedCE", case.task, {"dice": 0, "hard_dice": weight})(logits, case.target)
        values[weight], gradients[weight] = loss.item(), torch.autograd.grad(loss, logits)[0]
    told = (1 - (everything + tumor) / 2) + (1 - tumor)
    assert values[1] - values[0] == pytest.approx(told)
    assert values[3] - values[0] == pytest.approx(3 * told)
    assert torch.equal(gradients[1], gradients[0])


def test_a_batch_without_any_foreground_in_either_map_has_a_dice_of_1_and_a_missed_one_of_0():
    task = LossTask(False, None, False, False)
    empty, sure = torch.zeros(1, 1, 2, 2), torch.zeros(1, 3, 2, 2)
    sure[:, 0] = 9
    assert [float(x) for x in hard_dice(task, sure, empty)] == [1, 1]
    assert [float(x) for x in hard_dice(task, sure, empty + 1)] == [0, 1]
    assert [float(x) for x in hard_dice(task, sure, empty + 2)] == [0, 0]


def zhangs_loss(logits, labels):
    """Literally: torch's weighted cross-entropy, and Dice of the argmax of kidney with tumour and of tumour.

    Source: author's repository Yichizz/unet3d_kits19 @ db3054a, ``train/losses.py``.
    """
    ce = torch.nn.functional.cross_entropy(logits, labels[:, 0], torch.tensor([0.5, 1, 1.5], dtype=logits.dtype))
    found = torch.softmax(logits, 1).argmax(1)
    kidney, tumor = (
        2 * (a & b).sum().double() / (a.sum() + b.sum())
        for a, b in ((found > 0, labels[:, 0] > 0), (found == 2, labels[:, 0] == 2))
    )
    return ce + (1 - (kidney + tumor) / 2) + (1 - tumor)


def test_zhangs_loss_is_the_authors():
    torch.manual_seed(0)
    logits = torch.randn(6, 3, *SHAPE, dtype=torch.float64)
    labels = torch.randint(0, 3, (6, 1, *SHAPE))
    task = LossTask(False, None, False, False, [0.5, 1, 1.5])
    found = build_loss("DiceWeightedCE", task, {"dice": 0, "hard_dice": 1})(logits, labels)
    assert found.item() == pytest.approx(zhangs_loss(logits, labels).item(), rel=1e-9)


@each_kind
@each_dice
def test_weighted_dice_ce_by_hand(has_regions, ignores, batch_dice):
    case = Case(has_regions, ignores, batch_dice, weights=True)
    weights = REGION_WEIGHTS if has_regions else CLASS_WEIGHTS[1:]
    dice = np.average(case.indices(), axis=1, weights=weights).mean()
    assert case.loss("WeightedDiceCE") == pytest.approx(case.per_voxel(nll).mean() - dice, rel=1e-9)
    assert case.loss("WeightedDiceCE", k=10) == pytest.approx(case.hardest(10) - dice, rel=1e-9)
    if has_regions:
        assert case.loss("WeightedDiceCE", background=1) == case.loss("WeightedDiceCE")
        return
    every = [[case.index(cases, head, 0.5, 0.5) for head in range(4)] for cases in case.groups()]
    dice = np.average(every, axis=1, weights=[0.3 * CLASS_WEIGHTS[0], *CLASS_WEIGHTS[1:]]).mean()
    assert case.loss("WeightedDiceCE", background=0.3) == pytest.approx(case.per_voxel(nll).mean() - dice, rel=1e-9)


def test_chen_and_jins_loss_is_cross_entropy_minus_the_dice_of_their_equation_2():
    case = Case(False, False, True, weights=False)
    p, g = (np.moveaxis(x, 1, 0).reshape(4, -1) for x in (case.p, case.truth))
    dice = np.mean(2 * (p * g).sum(1) / (p.sum(1) + g.sum(1)))
    found = case.loss("WeightedDiceCE", background=1)
    assert found == pytest.approx(case.per_voxel(nll).mean() - dice, abs=1e-6)  # ours adds 1e-5 to both parts


def rings_by_hand(lesions):
    """Share of the five max-pools that reach a voxel; by scipy, each case alone."""
    share = np.zeros(lesions.shape)
    for edge in (7, 9, 11, 13, 15):
        share += np.stack([maximum_filter(case, edge, mode="constant", cval=0) for case in lesions]) / 5
    return np.where(lesions, 0, share)


@each_kind
@each_dice
def test_dice_ring_ce_by_hand(has_regions, ignores, batch_dice):
    case = Case(has_regions, ignores, batch_dice, weights=True, patch_size=SHAPE)
    lesions = np.zeros((2, *SHAPE), bool)
    lesions[0, 0, 1, 2] = lesions[1, 2, 4, 7] = lesions[1, 1, 1, 1] = True
    keep_only(case, lesions)
    ring = 15 * rings_by_hand(lesions & case.counted.reshape(2, *SHAPE)).reshape(2, 1, -1)
    weights = case.per_voxel(lambda p_true, _: class_weight(case) + ring)
    expected = 20 * (weights * case.per_voxel(nll)).mean() - np.mean(case.indices())
    assert case.loss("DiceRingCE") == pytest.approx(expected, rel=1e-9)
    weights = case.per_voxel(lambda p_true, _: class_weight(case))
    expected = 2 * (weights * case.per_voxel(nll)).mean() - np.mean(case.indices())
    assert case.loss("DiceRingCE", ce=2, ring=0) == pytest.approx(expected, rel=1e-9)


def keep_only(case, lesions):
    """Change the truth of a case to kidney everywhere but at these voxels, which are tumour."""
    labels = torch.from_numpy(np.where(lesions, 2, 1))[:, None]
    flat = labels.numpy().reshape(2, 1, -1)
    if case.has_regions:
        case.target[:, :3] = torch.cat([labels >= r for r in (1, 2, 2)], 1)
        case.truth = np.concatenate([flat >= r for r in (1, 2, 2)], 1)
        case.p_true = np.where(case.truth, case.p, 1 - case.p)
    else:
        case.target = torch.where(case.target == IGNORED, case.target, labels)
        case.truth = flat == np.arange(4)[:, None]
        case.p_true = (case.p * case.truth).sum(1, keepdims=True)


@pytest.mark.parametrize("has_regions", [False, True])
def test_a_kidney_alone_has_no_ring(has_regions):
    task = LossTask(has_regions, None, False, False, class_weights=[5.0] if has_regions else [1.0, 5.0])
    target = (torch.rand(2, 1, 6, 8, 10, generator=torch.Generator().manual_seed(0)) > 0.9).long()
    logits = torch.randn(2, 1 if has_regions else 2, 6, 8, 10, generator=torch.Generator().manual_seed(1))
    costs = [build_loss("DiceRingCE", task, {"ring": ring})(logits, target) for ring in (0, 15)]
    assert costs[0] == costs[1]


def test_lower_resolutions_have_no_ring():
    low = Case(False, False, True, weights=True, patch_size=(6, 10, 16))
    without = low.loss("DiceRingCE", ring=0)
    assert low.loss("DiceRingCE") == without
    assert Case(False, False, True, weights=True).loss("DiceRingCE") != without


@pytest.mark.parametrize("size", [(12, 20, 18), (20, 18)])
def test_the_share_of_rings_is_that_of_scipys_maximum_filters(size):
    lesions = torch.zeros(2, 1, *size, dtype=torch.bool)
    lesions[0, 0, ..., 3, 5] = lesions[1, 0, ..., 17, 0] = True
    found = share_of_rings(lesions, torch.float64)[:, 0].numpy()
    assert found == pytest.approx(rings_by_hand(lesions[:, 0].numpy()))


@each_kind
@each_dice
def test_tversky_and_focal_tversky_by_hand(has_regions, ignores, batch_dice):
    case = Case(has_regions, ignores, batch_dice)
    wrong = 1 - np.array(case.indices(0.3, 0.7))
    assert case.loss("Tversky") == pytest.approx(wrong.mean(), rel=1e-9)
    assert case.loss("FocalTversky") == pytest.approx((wrong**0.75).mean(), rel=1e-9)
    wrong = 1 - np.array(case.indices(0.6, 0.1))
    assert case.loss("FocalTversky", alpha=0.6, beta=0.1, gamma=2) == pytest.approx(np.sqrt(wrong).mean(), rel=1e-9)


@each_kind
@each_dice
@pytest.mark.parametrize("gamma", [0, 0.5, 2, 3])
def test_dice_focal_by_hand(has_regions, ignores, batch_dice, gamma):
    case = Case(has_regions, ignores, batch_dice)
    focal = case.per_voxel(lambda p_true, _: -((1 - p_true) ** gamma) * np.log(p_true)).mean()
    found = case.loss("DiceFocal", gamma=gamma, weight=3)
    assert found == pytest.approx(3 * focal - np.mean(case.indices()), rel=1e-9)


@each_kind
@pytest.mark.parametrize("k", [0.1, 10, 33])
def test_dice_topk_takes_the_hardest_share_of_the_voxels_that_count(has_regions, ignores, k):
    case = Case(has_regions, ignores, True)
    assert case.loss("DiceTopK", k=k) == pytest.approx(case.hardest(k) - np.mean(case.indices()), rel=1e-9)


@each_kind
@each_dice
@pytest.mark.parametrize(("delta", "gamma", "weight"), [(0.6, 0.5, 0.5), (0.3, 0, 0.2), (0.7, 0.75, 0.8)])
def test_unified_focal_by_hand(has_regions, ignores, batch_dice, delta, gamma, weight):
    case = Case(has_regions, ignores, batch_dice)

    def cost(p_true, in_front):
        held_back = (1 - delta) * (1 - p_true) ** gamma
        return np.where(in_front, delta, held_back) * -np.log(p_true)

    wrong = []
    for cases in case.groups():
        for head in case.foreground():
            wrong.append((1 - case.index(cases, head, 1 - delta, delta)) ** (1 - gamma))
            if has_regions:
                wrong.append(1 - case.index(cases, head, 1 - delta, delta, inside=False))
        if not has_regions:
            wrong.append(1 - case.index(cases, 0, 1 - delta, delta))
    expected = weight * case.per_voxel(cost).mean() + (1 - weight) * np.mean(wrong)
    found = case.loss("UnifiedFocal", delta=delta, gamma=gamma, weight=weight)
    assert found == pytest.approx(expected, rel=1e-9)


@each_kind
@pytest.mark.parametrize("width", [1, 2])
def test_dice_ce_boundary_by_hand(has_regions, ignores, width):
    case = Case(has_regions, ignores, True)
    labels = (case.truth.argmax(1)[:, None] if not has_regions else case.truth).reshape(2, -1, *SHAPE)
    near = band_by_hand(labels, case.counted.reshape(2, *SHAPE), width).reshape(2, labels.shape[1], -1)
    near = case.per_voxel(lambda p_true, _: near)
    cost = case.per_voxel(nll)
    expected = cost.mean() + 2 * cost[near].mean() - np.mean(case.indices())
    assert case.loss("DiceCEBoundary", width=width, weight=2) == pytest.approx(expected, rel=1e-9)


def band_by_hand(labels, counted, width):
    """Voxel by voxel: a counted neighbour along an axis has another label, or a neighbour of the thinner band."""
    band = np.zeros(labels.shape, bool)
    for step in range(width):
        thin = band.copy()
        for b, h, *at in np.ndindex(labels.shape):
            for axis in range(3):
                for side in (-1, 1):
                    to = list(at)
                    to[axis] += side
                    if not 0 <= to[axis] < labels.shape[2 + axis]:
                        continue
                    here, there = (b, h, *at), (b, h, *to)
                    both = counted[(b, *at)] and counted[(b, *to)]
                    band[here] |= (both and labels[here] != labels[there]) if step == 0 else thin[there]
    return band & counted[:, None]


def test_the_band_is_as_wide_on_each_side_of_a_boundary_as_asked_for():
    line = torch.tensor([0, 0, 0, 0, 2, 2, 2, 2]).view(1, 1, 1, 8)
    assert boundary_band(line, None, 1).int().flatten().tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert boundary_band(line, None, 3).int().flatten().tolist() == [0, 1, 1, 1, 1, 1, 1, 0]
    assert not boundary_band(torch.zeros_like(line), None, 3).any()
    counted = (line.new_tensor([1, 1, 1, 1, 0, 1, 1, 1]) > 0).view_as(line)
    assert not boundary_band(line, counted, 3).any()


# nnU-Net's own


def stock(case, **ce):
    dice = {"batch_dice": case.batch_dice, "smooth": SMOOTH, "do_bg": case.has_regions, "ddp": False}
    ignores = case.task.ignore_label is not None
    if case.has_regions:
        return DC_and_BCE_loss({}, dice, use_ignore_label=ignores, dice_class=MemoryEfficientSoftDiceLoss)
    return DC_and_CE_loss(dice, ce, ignore_label=case.task.ignore_label, dice_class=MemoryEfficientSoftDiceLoss)


@each_kind
@each_dice
def test_dice_ce_is_nnunets_own(has_regions, ignores, batch_dice):
    case = Case(has_regions, ignores, batch_dice, dtype=torch.float32)
    assert case.loss("DiceCE") == stock(case)(case.logits, case.target).item()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("DiceWeightedCE", {}),
        ("WeightedDiceCE", {}),
        ("DiceRingCE", {"ce": 1, "ring": 0}),
        ("DiceFocal", {"gamma": 0}),
        ("DiceTopK", {"k": 100}),
        ("DiceCEBoundary", {"weight": 0}),
    ],
)
@pytest.mark.parametrize(("has_regions", "ignores"), KINDS[:3], ids=["classes", "classes, ignore", "regions"])
@each_dice
def test_where_a_loss_contains_dice_plus_ce_it_is_nnunets_with_its_gradient(
    name, parameters, has_regions, ignores, batch_dice
):
    case = Case(has_regions, ignores, batch_dice, dtype=torch.float32)
    found, expected = (case.logits.clone().requires_grad_() for _ in range(2))
    build_loss(name, case.task, parameters)(found, case.target).backward()
    stock(case)(expected, case.target).backward()
    assert case.loss(name, **parameters) == pytest.approx(stock(case)(expected, case.target).item(), rel=1e-5)
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-7)


def test_with_regions_and_ignore_label_nnunets_own_adds_up_the_regions_where_ours_take_the_mean():
    case = Case(True, True, True, dtype=torch.float32)
    dice = -np.mean(case.indices())
    assert case.loss("DiceCE") - dice == pytest.approx(3 * (case.loss("DiceWeightedCE") - dice), rel=1e-4)


@pytest.mark.parametrize("ignores", [False, True])
def test_weighted_cross_entropy_of_classes_is_torchs(ignores):
    case = Case(False, ignores, True, weights=True, dtype=torch.float32)
    expected = stock(case, weight=torch.tensor(CLASS_WEIGHTS))(case.logits, case.target).item()
    assert case.loss("DiceWeightedCE") == pytest.approx(expected, rel=1e-5)


@pytest.mark.filterwarnings("ignore:size_average and reduce args")
def test_topk_is_nnunets_where_that_is_right():
    case = Case(False, False, True, dtype=torch.float32)  # 240 voxels: 10 % is a whole number
    dice = {"batch_dice": True, "smooth": SMOOTH, "do_bg": False, "ddp": False}
    expected = DC_and_topk_loss(dice, {"k": 10})(case.logits, case.target).item()
    assert case.loss("DiceTopK") == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def monai():
    """MONAI's losses; the import takes seconds."""
    return importlib.import_module("monai.losses")


@pytest.mark.slow
@pytest.mark.parametrize("has_regions", [False, True], ids=["classes", "regions"])
@each_dice
def test_tversky_is_monais(monai, has_regions, batch_dice):
    case = Case(has_regions, False, batch_dice)
    loss = monai.TverskyLoss(
        include_background=has_regions,
        to_onehot_y=not has_regions,
        sigmoid=has_regions,
        softmax=not has_regions,
        alpha=0.3,
        beta=0.7,
        smooth_nr=SMOOTH / 2,
        smooth_dr=SMOOTH / 2,
        batch=batch_dice,
    )
    expected = loss(case.logits, case.target.to(case.logits.dtype)).item()
    assert case.loss("Tversky") == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("has_regions", [False, True], ids=["classes", "regions"])
@each_dice
def test_dice_focal_is_monais(monai, has_regions, batch_dice):
    case = Case(has_regions, False, batch_dice)
    kind = {"include_background": has_regions, "to_onehot_y": not has_regions}
    dice = monai.DiceLoss(
        **kind, sigmoid=has_regions, softmax=not has_regions, smooth_nr=SMOOTH, smooth_dr=SMOOTH, batch=batch_dice
    )
    focal = monai.FocalLoss(include_background=True, to_onehot_y=not has_regions, gamma=2, use_softmax=not has_regions)
    target = case.target.to(case.logits.dtype)
    classes = 1 if has_regions else 4  # MONAI takes the mean over the classes too, of which one has the cost
    expected = dice(case.logits, target).item() - 1 + classes * focal(case.logits, target).item()
    assert case.loss("DiceFocal") == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_unified_focal_of_two_classes_is_monais(monai):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, *SHAPE, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 2, (2, 1, *SHAPE), generator=generator)
    probabilities = torch.softmax(logits, 1)
    two = torch.cat([1 - target, target], 1)
    focal = monai.unified_focal_loss.AsymmetricFocalLoss(gamma=0.5, delta=0.6)(probabilities, two)
    tversky = monai.unified_focal_loss.AsymmetricFocalTverskyLoss(gamma=0.5, delta=0.6)(probabilities, two)
    task = LossTask(False, None, False, False)
    # MONAI takes the mean of foreground and background cost at a voxel, the paper's code their sum.
    assert build_loss("UnifiedFocal", task, {"weight": 1})(logits, target).item() == pytest.approx(2 * focal.item())
    assert build_loss("UnifiedFocal", task, {"weight": 0})(logits, target).item() == pytest.approx(tversky.item())


# several processes

PROCESS = """
import sys
import torch
from nnunet_kits.losses import LossTask
from nnunet_kits.losses.build import build_loss

rank, rendezvous, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
for has_regions in (False, True):
    logits, target = torch.load(f"{folder}/{has_regions}.pt")
    cases = slice(0, 1) if rank == 0 else slice(1, 3)  # nnU-Net may give processes different numbers of cases
    logits = logits[cases].requires_grad_()
    found = build_loss("FocalTversky", LossTask(has_regions, None, True, True))(logits, target[cases])
    found.backward()
    torch.save((found.detach(), logits.grad), f"{folder}/{has_regions}_{rank}.pt")
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_batch_dice_over_two_processes_is_that_of_the_whole_batch_with_its_gradient(tmp_path):
    whole = {}
    for has_regions in (False, True):
        torch.manual_seed(0)
        logits = torch.randn(3, 3, *SHAPE)
        target = torch.randint(0, 2, (3, 3 if has_regions else 1, *SHAPE))
        torch.save((logits, target), tmp_path / f"{has_regions}.pt")
        logits.requires_grad_()
        found = build_loss("FocalTversky", LossTask(has_regions, None, True, False))(logits, target)
        found.backward()
        whole[has_regions] = found.item(), logits.grad
    arguments = [(tmp_path / "rendezvous").as_uri(), str(tmp_path)]
    processes = [subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), *arguments]) for rank in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    for has_regions, (value, gradient) in whole.items():
        parts = [torch.load(tmp_path / f"{has_regions}_{rank}.pt") for rank in range(2)]
        assert [part[0].item() for part in parts] == pytest.approx([value] * 2, rel=1e-6)
        # The sum over processes, as nnU-Net's: DDP divides it by their number afterwards.
        torch.testing.assert_close(torch.cat([part[1] for part in parts]), 2 * gradient)
