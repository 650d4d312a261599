"""The networks of published systems: as many weights, features and strides as their authors' own have."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as f

from nnunet_kits.architectures.anisotropic import StemResUNet25D
from nnunet_kits.architectures.recursive import BatchNormUNet2D, RecursiveUNet2D
from nnunet_kits.architectures.residual import ResUNet
from nnunet_kits.architectures.stem import Parts, StemBlock, StemResUNet
from nnunet_kits.architectures.zhang import (
    LeakyUNet,
    PreActivationBlock,
    Repeated,
    ResidualBlock,
    SharedPreActResUNet,
    SharedResUNet,
)
from nnunet_kits.errors import TrainingError

STRIDES = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2]]
PLAIN, RESIDUAL = [30, 60, 120, 240, 320, 320], [24, 48, 96, 192, 320, 320]
STEM = [32, 32, 64, 128, 256]
FLAT, CUBIC = [[1, 1, 1]] + [[1, 2, 2]] * 4, [[1, 1, 1]] + [[2, 2, 2]] * 4


def build(network, features, strides, classes, channels=1, deep_supervision=False):
    dimensions = len(strides[0])
    return network(
        channels,
        classes,
        deep_supervision,
        n_stages=len(features),
        features_per_stage=features,
        conv_op=nn.Conv2d if dimensions == 2 else nn.Conv3d,
        kernel_sizes=[[3] * dimensions] * len(features),
        strides=strides,
    )


def size(network):
    return sum(weights.numel() for weights in network.parameters())


def weights_of(inputs, outputs, *kernel):
    """Weights and biases of a convolution."""
    return inputs * outputs * int(np.prod(kernel)) + outputs


def zhang_size(features, blocks, convolutions_up, classes=3):
    """Weights of Zhang's networks, counted from their description."""
    first = weights_of(1, features[0], 3, 3, 3) + weights_of(features[0], features[0], 3, 3, 3)
    down = up = 0
    for above, here in itertools.pairwise(features):
        down += weights_of(above, here, 3, 3, 3) + weights_of(here, here, 3, 3, 3)
        if blocks:
            down += weights_of(above, here, 1, 1, 1)  # the strided skip
            down += 2 * weights_of(here, here, 3, 3, 3)  # one block, however often it is applied
        up += weights_of(here, above, 2, 2, 2) + weights_of(2 * above, above, 3, 3, 3)
        up += (convolutions_up - 1) * weights_of(above, above, 3, 3, 3)
    up += features[0] * features[1] * (3 * 2 * 2 - 2 * 2 * 2)  # the last transposed convolution is 3 x 2 x 2
    return first + down + up + weights_of(features[0], classes, 1, 1, 1)


@pytest.mark.parametrize(
    ("network", "features", "counted", "millions"),
    [
        (LeakyUNet, PLAIN, zhang_size(PLAIN, False, 2), "29.69"),
        (SharedResUNet, RESIDUAL, zhang_size(RESIDUAL, True, 1), "35.48"),
        (SharedPreActResUNet, RESIDUAL, zhang_size(RESIDUAL, True, 1), "35.48"),
    ],
)
def test_zhangs_networks_have_as_many_weights_as_the_authors(network, features, counted, millions):
    with torch.device("meta"):
        found = size(build(network, features, STRIDES, classes=3))
    assert found == counted
    assert f"{found / 1e6:.2f}" == millions


def shapes_of_stages(network, x):
    """(features, z, y, x) of what every module of the encoder gives."""
    shapes = []
    for stage in network.encoder:
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    return shapes


@pytest.mark.parametrize(("network", "features"), [(LeakyUNet, PLAIN), (SharedResUNet, RESIDUAL)])
def test_zhangs_patch_becomes_5_x_5_x_5_in_five_steps_the_first_of_them_flat(network, features):
    with torch.device("meta"):
        shapes = shapes_of_stages(build(network, features, STRIDES, 3), torch.empty(1, 1, 80, 160, 160))
    edges = [(80, 160, 160), (80, 80, 80), (40, 40, 40), (20, 20, 20), (10, 10, 10), (5, 5, 5)]
    assert shapes == [(width, *edge) for width, edge in zip(features, edges, strict=True)]


@pytest.mark.parametrize("network", [SharedResUNet, SharedPreActResUNet])
def test_stage_n_applies_one_block_n_times(network):
    with torch.device("meta"):
        stages = list(build(network, RESIDUAL, STRIDES, 3).encoder)
    assert [stage[1].times for stage in stages[1:]] == [1, 2, 3, 4, 5]
    assert all(isinstance(stage[1], Repeated) and isinstance(stage[0], network.block) for stage in stages[1:])
    assert [type(layer).__name__ for unit in stages[0] for layer in unit] == ["Conv3d", "InstanceNorm3d", "ReLU"] * 2


@pytest.mark.parametrize("kind", [ResidualBlock, PreActivationBlock])
def test_a_repeated_blocks_gradient_is_the_sum_over_its_applications(kind):
    torch.manual_seed(0)
    block = kind(nn.Conv3d, 2, 2, [3, 3, 3], None).double()
    copies = [kind(nn.Conv3d, 2, 2, [3, 3, 3], None).double() for _ in range(3)]
    for copy in copies:
        copy.load_state_dict(block.state_dict())
    x = torch.randn(1, 2, 4, 5, 6, dtype=torch.float64)
    shared, unrolled = Repeated(block, 3)(x), nn.Sequential(*copies)(x)
    assert torch.equal(shared, unrolled)
    shared.square().sum().backward()
    unrolled.square().sum().backward()
    for name, weights in block.named_parameters():
        apart = [dict(copy.named_parameters())[name].grad for copy in copies]
        assert torch.allclose(weights.grad, sum(apart), rtol=1e-9, atol=1e-9)


def normalised(x):
    """Instance norm without weights, written out."""
    axes = tuple(range(2, x.ndim))
    return (x - x.mean(axes, keepdim=True)) / (x.var(axes, keepdim=True, unbiased=False) + 1e-5).sqrt()


@pytest.mark.parametrize("strided", [True, False])
def test_a_residual_block_adds_its_skip_before_the_second_relu(strided):
    torch.manual_seed(0)
    inputs, stride = (2, [1, 2, 2]) if strided else (3, None)
    block = ResidualBlock(nn.Conv3d, inputs, 3, [3, 3, 3], stride)
    x = torch.randn(2, inputs, 4, 6, 8)
    out = normalised(f.conv3d(x, block.conv1.weight, block.conv1.bias, stride or 1, 1)).clamp(min=0)
    out = normalised(f.conv3d(out, block.conv2.weight, block.conv2.bias, 1, 1))
    skip = f.conv3d(x, block.skip.weight, block.skip.bias, stride) if strided else x
    assert torch.allclose(block(x), (out + skip).clamp(min=0), atol=1e-5)


@pytest.mark.parametrize("strided", [True, False])
def test_a_preactivation_blocks_skip_is_of_the_raw_input_and_its_sum_is_not_activated(strided):
    torch.manual_seed(0)
    inputs, stride = (2, [1, 2, 2]) if strided else (3, None)
    block = PreActivationBlock(nn.Conv3d, inputs, 3, [3, 3, 3], stride)
    x = torch.randn(2, inputs, 4, 6, 8)
    out = f.conv3d(normalised(x).clamp(min=0), block.conv1.weight, block.conv1.bias, stride or 1, 1)
    out = f.conv3d(normalised(out).clamp(min=0), block.conv2.weight, block.conv2.bias, 1, 1)
    skip = f.conv3d(x, block.skip.weight, block.skip.bias, stride) if strided else x
    found = block(x)
    assert torch.allclose(found, out + skip, atol=1e-5)
    assert (found < 0).any()


def test_zhangs_plain_network_is_conv_norm_leaky_relu_of_slope_0_2_throughout():
    torch.manual_seed(0)
    network = build(LeakyUNet, [2, 3, 4], [[1, 1, 1], [1, 2, 2], [2, 2, 2]], 3)
    state = network.state_dict()

    def unit(x, where, stride=1):
        found = f.conv3d(x, state[f"{where}.0.weight"], state[f"{where}.0.bias"], stride, 1)
        return f.leaky_relu(normalised(found), 0.2)

    def up(x, number, **how):
        return f.conv_transpose3d(x, state[f"decoder.ups.{number}.weight"], state[f"decoder.ups.{number}.bias"], **how)

    x = torch.randn(1, 1, 4, 8, 8)
    first = unit(unit(x, "encoder.0.0"), "encoder.0.1")
    second = unit(unit(first, "encoder.1.0", (1, 2, 2)), "encoder.1.1")
    third = unit(unit(second, "encoder.2.0", 2), "encoder.2.1")
    out = torch.cat([up(third, 0, stride=2), second], 1)
    out = unit(unit(out, "decoder.stages.0.0"), "decoder.stages.0.1")
    out = torch.cat([up(out, 1, stride=(1, 2, 2), padding=(1, 0, 0)), first], 1)
    out = unit(unit(out, "decoder.stages.1.0"), "decoder.stages.1.1")
    out = f.conv3d(out, state["decoder.seg_layers.0.weight"], state["decoder.seg_layers.0.bias"])
    assert torch.allclose(network(x), out, atol=1e-5)
    assert not [key for key in state if "norm" in key]  # norms have no weights


def test_the_coarse_network_of_chen_and_zhang_has_the_size_that_the_authors_state_for_three_channels():
    with torch.device("meta"):
        network = build(StemResUNet, STEM, CUBIC, classes=2, channels=3)
    assert size(network) - size(network.decoder.seg_layers) == 15_176_864


@pytest.mark.parametrize(
    ("network", "strides", "patch", "edges"),
    [
        (StemResUNet, CUBIC, (128, 128, 128), [(64, 64, 64), (32, 32, 32), (16, 16, 16), (8, 8, 8)]),
        (StemResUNet25D, FLAT, (48, 224, 384), [(48, 112, 192), (48, 56, 96), (48, 28, 48), (48, 14, 24)]),
    ],
)
def test_chen_and_zhangs_networks_begin_at_half_the_resolution_and_end_at_the_inputs(network, strides, patch, edges):
    with torch.device("meta"):
        built = build(network, STEM, strides, 4, deep_supervision=True)
        x = torch.empty(1, 1, *patch)
        shapes, outputs = shapes_of_stages(built, x), built(x)
    assert shapes == [(width, *edge) for width, edge in zip(STEM[1:], edges, strict=True)]
    assert [tuple(output.shape) for output in outputs] == [(1, 4, *edge) for edge in (patch, *edges[:-1])]


def test_the_fine_network_strides_with_kernels_that_are_flat_along_z():
    with torch.device("meta"):
        network, coarse = build(StemResUNet25D, STEM, FLAT, 4), build(StemResUNet, STEM, CUBIC, 2)
    kernels = {}
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            kernels.setdefault(tuple(module.stride), set()).add(tuple(module.kernel_size))
    assert kernels == {(1, 1, 1): {(3, 3, 3), (1, 1, 1)}, (1, 2, 2): {(1, 3, 3), (1, 1, 1)}}
    assert [len(stage) for stage in list(network.encoder)[1:]] == [3, 3, 3]
    norms = {type(module) for module in network.modules() if "Norm" in type(module).__name__}
    assert norms == {nn.InstanceNorm3d}
    assert {type(module) for module in coarse.modules() if "Norm" in type(module).__name__} == {nn.BatchNorm3d}


def test_a_network_of_the_stem_alone_interpolates_its_two_convolutions():
    network = build(StemResUNet, [2, 3], [[1, 1, 1], [2, 2, 2]], 4)
    x = torch.randn(2, 1, 4, 6, 8)
    up = f.interpolate(network.encoder[0](x), scale_factor=2, mode="trilinear")
    assert torch.allclose(network(x), network.decoder.seg_layers[0](up), atol=1e-6)


def test_a_stem_block_normalises_its_strided_skip_too():
    torch.manual_seed(0)
    block = StemBlock(Parts(nn.Conv3d, by_batch=False), 2, 3, [3, 3, 3], [1, 2, 2])
    x = torch.randn(2, 2, 4, 6, 8)
    out = f.conv3d(x, block.conv1.weight, block.conv1.bias, (1, 2, 2), (0, 1, 1))
    out = normalised(f.conv3d(normalised(out).clamp(min=0), block.conv2.weight, block.conv2.bias, 1, 1))
    skip = normalised(f.conv3d(x, block.skip[0].weight, block.skip[0].bias, (1, 2, 2)))
    assert torch.allclose(block(x), (out + skip).clamp(min=0), atol=1e-5)


def test_chen_and_jins_network_is_conv_leaky_relu_batch_norm_with_max_pooling_and_nearest_upsampling():
    torch.manual_seed(0)
    network = build(BatchNormUNet2D, [2, 4], [[1, 1], [2, 2]], 3)
    state = network.state_dict()

    def blocks(x, where):
        for conv, norm in ((0, 2), (3, 5)):
            x = f.leaky_relu(f.conv2d(x, state[f"{where}.{conv}.weight"], state[f"{where}.{conv}.bias"], 1, 1), 0.3)
            mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
            scale, shift = state[f"{where}.{norm}.weight"], state[f"{where}.{norm}.bias"]
            x = (x - mean) / (var + 1e-3).sqrt() * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        return x

    x = torch.randn(2, 1, 8, 12)
    context = blocks(x, "encoder.context")
    pooled = context.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2))
    lower = blocks(pooled, "encoder.below.context")
    up = lower.repeat_interleave(2, 2).repeat_interleave(2, 3)
    out = blocks(torch.cat([context, up], 1), "encoder.localization")
    out = f.conv2d(out, state["decoder.seg_layers.0.weight"], state["decoder.seg_layers.0.bias"])
    assert torch.allclose(network(x), out, atol=1e-4)


def test_chen_and_jins_network_has_the_papers_12_million_weights():
    with torch.device("meta"):
        network = build(BatchNormUNet2D, [20 * 2**level for level in range(6)], [[1, 1]] + [[2, 2]] * 5, 3)
    assert f"{size(network) / 1e6:.0f}M" == "12M"


@pytest.mark.parametrize(
    ("network", "before", "strides"),
    [(SharedResUNet, ResUNet, STRIDES[:3]), (BatchNormUNet2D, RecursiveUNet2D, [[1, 1], [2, 2], [2, 2]])],
)
def test_weights_of_the_network_that_a_published_trainer_had_before_are_refused_in_one_line(network, before, strides):
    old = build(before, [2, 3, 4], strides, 3).state_dict()
    new = build(network, [2, 3, 4], strides, 3)
    with pytest.raises(TrainingError, match=rf"^{network.__name__}: these are the weights of another network \(\d+ of"):
        new.load_state_dict(old)
    new.load_state_dict(new.state_dict())
