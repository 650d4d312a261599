import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, one_hot

from nnunet_kits.training.mixup import MixupLoss, Pairing, draw


class CrossEntropy(torch.nn.Module):
    def forward(self, logits, target):
        return cross_entropy(logits, target[:, 0])


def make(batch=3):
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, 4, 5, 6, dtype=torch.float64, generator=rng)
    target = torch.randint(0, 4, (batch, 1, 5, 6), generator=rng)
    return logits, target


def test_the_mixed_cross_entropy_is_that_of_the_mixed_one_hot_target():
    logits, target = make()
    loss = MixupLoss(CrossEntropy())
    loss.pairing = Pairing(0.7, torch.tensor([1, 2, 0]))
    hot = one_hot(target[:, 0], 4).movedim(-1, 1).double()
    expected = cross_entropy(logits, 0.7 * hot + 0.3 * hot[[1, 2, 0]])
    assert float(loss(logits, target)) == pytest.approx(float(expected), abs=1e-12)


def test_lists_of_scales_are_mixed_scale_by_scale():
    logits, target = make()

    class SumOfScales(torch.nn.Module):
        def forward(self, outputs, targets):
            return sum(CrossEntropy()(output, target) for output, target in zip(outputs, targets, strict=True))

    one, many = MixupLoss(CrossEntropy()), MixupLoss(SumOfScales())
    one.pairing = many.pairing = Pairing(0.2, torch.tensor([2, 0, 1]))
    assert float(many([logits, logits], [target, target])) == pytest.approx(2 * float(one(logits, target)))


def test_without_a_pairing_it_is_the_loss_itself():
    logits, target = make()
    assert torch.equal(MixupLoss(CrossEntropy())(logits, target), CrossEntropy()(logits, target))


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 12), st.integers(0, 1000))
def test_every_image_has_another_partner_and_every_image_is_one(images, seed):
    np.random.seed(seed)
    pairing = draw(images, 0.2)
    assert 0 <= pairing.share <= 1
    assert sorted(pairing.partners.tolist()) == list(range(images))
    assert all(partner != image for image, partner in enumerate(pairing.partners.tolist()))


def test_images_are_mixed_with_their_partners():
    images = torch.arange(3.0).reshape(3, 1, 1)
    assert Pairing(0.75, torch.tensor([1, 2, 0])).mix(images).flatten().tolist() == [0.25, 1.25, 1.5]
