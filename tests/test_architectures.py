import pydoc

import pytest
import torch
from torch import nn

from nnunet_kits.architectures import NETWORKS
from nnunet_kits.architectures.preactivation import PreActivationBlock
from nnunet_kits.architectures.residual import encoder_blocks
from nnunet_kits.architectures.topology import Topology
from nnunet_kits.errors import TrainingError

TOPOLOGIES = {
    "3d": dict(conv_op=nn.Conv3d, kernel_sizes=[[3, 3, 3]] * 3, strides=[[1, 1, 1], [2, 2, 2], [2, 2, 2]]),
    "2.5d": dict(
        conv_op=nn.Conv3d, kernel_sizes=[[1, 3, 3], [3, 3, 3], [3, 3, 3]], strides=[[1, 1, 1], [1, 2, 2], [1, 2, 2]]
    ),
    "2d": dict(conv_op=nn.Conv2d, kernel_sizes=[[3, 3]] * 3, strides=[[1, 1], [2, 2], [2, 2]]),
    "scalars": dict(conv_op=nn.Conv3d, kernel_sizes=[3, 3, 3], strides=[1, 2, 2]),
}
PATCH = {"3d": (8, 12, 16), "2.5d": (5, 12, 16), "2d": (12, 16), "scalars": (8, 12, 16)}
CLASSES = {name: pydoc.locate(network.factory) for name, network in NETWORKS.items()}
OURS = [name for name in CLASSES if name != "ResNet34UNet2D"]
SUPERVISED = [name for name in OURS if getattr(CLASSES[name], "supports_deep_supervision", True)]


def fits(name, topology):
    """Whether a network is for patches of a topology's dimensions."""
    return len(PATCH[topology]) in getattr(CLASSES[name], "dimensions", (2, 3))


def usual(name):
    """A topology that a network takes."""
    return "3d" if fits(name, "3d") else "2d"


def build(name, topology, channels=1, classes=4, deep_supervision=False):
    torch.manual_seed(0)
    network = CLASSES[name](
        input_channels=channels,
        num_classes=classes,
        deep_supervision=deep_supervision,
        n_stages=3,
        features_per_stage=[4, 6, 8],
        **TOPOLOGIES[topology],
    )
    if hasattr(network, "initialize"):
        network.apply(network.initialize)
    return network


@pytest.fixture(params=OURS)
def name(request):
    return request.param


@pytest.mark.parametrize("topology", list(TOPOLOGIES))
def test_logits_have_the_size_of_the_input_and_deep_supervision_gives_one_output_per_decoder_stage(name, topology):
    if not fits(name, topology):
        with pytest.raises(TrainingError, match="but the configuration is"):
            build(name, topology)
        return
    x = torch.randn(2, 1, *PATCH[topology])
    assert build(name, topology)(x).shape == (2, 4, *PATCH[topology])
    if name not in SUPERVISED:
        with pytest.raises(TrainingError, match=f"{name}: it has one output"):
            build(name, topology, deep_supervision=True)
        return
    outputs = build(name, topology, deep_supervision=True)(x)
    assert len(outputs) == 2
    assert outputs[0].shape == (2, 4, *PATCH[topology])
    last = [max(1, s) if isinstance(s, int) else s for s in TOPOLOGIES[topology]["strides"]][1]
    last = [last] * len(PATCH[topology]) if isinstance(last, int) else last
    assert outputs[1].shape == (2, 4, *[n // s for n, s in zip(PATCH[topology], last, strict=True)])


@pytest.mark.parametrize("name", SUPERVISED)
def test_weights_are_the_same_with_and_without_deep_supervision(name):
    topology = usual(name)
    with_it, without = build(name, topology, deep_supervision=True), build(name, topology)
    assert with_it.state_dict().keys() == without.state_dict().keys()
    without.load_state_dict(with_it.state_dict())
    x = torch.randn(1, 1, *PATCH[topology])
    with torch.no_grad():
        assert torch.equal(with_it.eval()(x)[0], without.eval()(x))
        with_it.decoder.deep_supervision = False
        assert torch.equal(with_it(x), without(x))


def test_the_cascades_extra_channels_and_region_heads_fit(name):
    patch = PATCH[usual(name)]
    assert build(name, usual(name), channels=4, classes=3)(torch.randn(1, 4, *patch)).shape == (1, 3, *patch)


def test_a_step_of_gradient_descent_lowers_the_loss_and_reaches_every_used_weight(name):
    network = build(name, usual(name), deep_supervision=False)
    patch = PATCH[usual(name)]
    x, target = torch.randn(2, 1, *patch), torch.randint(0, 4, (2, *patch))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), target)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < losses[0]
    unused = {k for k, p in network.named_parameters() if p.grad is None}
    assert all(".seg_layers." in k for k in unused)


def test_segmentation_heads_are_named_so_that_nnunet_leaves_them_out_of_pretrained_weights(name):
    heads = [k for k in build(name, usual(name)).state_dict() if ".seg_layers." in k]
    assert len(heads) == (4 if name in SUPERVISED else 2)  # two scales or one, weight and bias


def test_the_encoder_has_1_2_3_4_4_residual_blocks():
    assert encoder_blocks(6) == [1, 2, 3, 4, 4, 4]
    stages = build("ResUNet", "3d").encoder.stages
    assert [len(stage.blocks) for stage in stages] == [1, 2, 3]
    assert [len(stage) for stage in build("PreActResUNet", "3d").encoder.stages] == [1, 2, 3]


def test_the_plain_network_is_nnunets_own_but_for_relu():
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    stock = PlainConvUNet(
        1,
        3,
        [4, 6, 8],
        num_classes=4,
        n_conv_per_stage=2,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"negative_slope": 0.0},
        **TOPOLOGIES["3d"],
    ).eval()
    plain = build("PlainUNet", "3d").eval()
    stock.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 8, 12, 16)
    with torch.no_grad():
        assert torch.allclose(plain(x), stock(x), atol=1e-6)


def test_a_preactivation_block_normalises_activates_and_convolves_twice_and_adds_its_input():
    block = PreActivationBlock(nn.Conv3d, 4, 4, [3, 3, 3], [1, 1, 1])
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 4, 6, 6, 6)
    out = x
    for norm, conv in ((block.norm1, block.conv1), (block.norm2, block.conv2)):
        mean, var = out.mean((2, 3, 4), keepdim=True), out.var((2, 3, 4), keepdim=True, unbiased=False)
        scaled = (out - mean) / torch.sqrt(var + 1e-5) * norm.weight.view(-1, 1, 1, 1) + norm.bias.view(-1, 1, 1, 1)
        out = nn.functional.conv3d(scaled.clamp(min=0), conv.weight, conv.bias, padding=1)
    assert torch.allclose(block(x), out + x, atol=1e-4)


def test_preactivation_blocks_start_as_the_identity():
    network = build("PreActResUNet", "3d")
    block = network.encoder.stages[1][1]
    x = torch.randn(1, 6, 4, 6, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("network", CLASSES.values(), ids=list(CLASSES))
@pytest.mark.parametrize("change", [{"colour": 1}, {"strides": None}], ids=["unknown", "missing"])
def test_a_network_takes_the_whole_topology_and_nothing_else(network, change):
    given = {"n_stages": 3, "features_per_stage": [4, 6, 8], **TOPOLOGIES["3d"], **change}
    with pytest.raises(TypeError, match=next(iter(change))):
        network(1, 2, False, **{key: value for key, value in given.items() if value is not None})


def test_features_that_do_not_fit_the_stages_are_refused():
    with pytest.raises(ValueError, match="features_per_stage has 2 entries for 3 stages"):
        CLASSES["PreActResUNet"](1, 2, False, n_stages=3, features_per_stage=[4, 6], **TOPOLOGIES["3d"])


def test_the_25d_network_never_pools_along_z_and_its_lower_outputs_have_the_plans_size():
    network = build("ResUNet25D", "3d", deep_supervision=True)
    convolutions = [m for m in network.modules() if isinstance(m, (nn.Conv3d, nn.ConvTranspose3d, nn.AvgPool3d))]
    strides = {tuple(m.stride) if not isinstance(m.stride, int) else (m.stride,) * 3 for m in convolutions}
    assert {stride[0] for stride in strides} == {1}
    assert (1, 2, 2) in strides
    outputs = network(torch.randn(1, 1, 8, 12, 16))
    assert [tuple(output.shape[2:]) for output in outputs] == [(8, 12, 16), (4, 6, 8)]


def test_the_recursive_network_has_two_sub_blocks_a_side_and_twelve_million_weights_in_the_papers_size():
    features, strides = [20 * 2**i for i in range(6)], [[1, 1]] + [[2, 2]] * 5
    topology = Topology(6, features, nn.Conv2d, [[3, 3]] * 6, strides)
    network = CLASSES["RecursiveUNet2D"](1, 3, False, **vars(topology))
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in network.modules()) == 2 * 6 + 2 * 5
    assert 11e6 < sum(p.numel() for p in network.parameters()) < 13e6  # the paper: 12M
    assert network(torch.randn(1, 1, 64, 96)).shape == (1, 3, 64, 96)


FLAT = dict(n_stages=3, features_per_stage=[4, 6, 8], **TOPOLOGIES["2d"])


def test_the_resnet34_network_needs_its_extra_and_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "segmentation_models_pytorch", None)
    with pytest.raises(TrainingError, match=r"pip install 'nnunet_kits\[smp\]'"):
        CLASSES["ResNet34UNet2D"](1, 4, False, **FLAT)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((1, 4, True), "cannot be trained with deep supervision"), ((1, 4, False, "3d"), "but the configuration is 3D")],
)
def test_the_resnet34_network_refuses_what_it_cannot(arguments, said):
    topology = {**FLAT, **TOPOLOGIES[arguments[3]]} if len(arguments) > 3 else FLAT
    with pytest.raises(TrainingError, match=said):
        CLASSES["ResNet34UNet2D"](*arguments[:3], **topology)


def test_the_resnet34_network_trains_on_its_own_and_starts_from_a_file_of_imagenet_weights(tmp_path):
    library = pytest.importorskip("segmentation_models_pytorch", reason="the extra smp is not installed")
    network = CLASSES["ResNet34UNet2D"](2, 4, False, **FLAT)
    assert network(torch.randn(2, 2, 64, 32)).shape == (2, 4, 64, 32)
    assert [key for key in network.state_dict() if ".seg_layers." in key]
    with pytest.raises(TrainingError, match="no multiple of 32"):
        network(torch.randn(1, 2, 48, 32))
    weights = library.encoders.get_encoder("resnet34", in_channels=3, weights=None).state_dict()
    torch.save(weights, tmp_path / "resnet34.pth")
    network.load_imagenet_encoder(str(tmp_path / "resnet34.pth"))
    assert torch.equal(network.encoder.state_dict()["layer1.0.conv1.weight"], weights["layer1.0.conv1.weight"])
    assert torch.allclose(network.encoder.conv1.weight.sum(1), weights["conv1.weight"].sum(1), atol=1e-6)
    torch.save({"conv1.weight": weights["conv1.weight"]}, tmp_path / "other.pth")
    with pytest.raises(TrainingError, match="no weights of a ResNet34"):
        network.load_imagenet_encoder(str(tmp_path / "other.pth"))
    with pytest.raises(TrainingError, match="no such file of ImageNet weights"):
        network.load_imagenet_encoder(str(tmp_path / "none.pth"))
    (tmp_path / "text.pth").write_text("x")
    with pytest.raises(TrainingError, match="is no file of weights"):
        network.load_imagenet_encoder(str(tmp_path / "text.pth"))
