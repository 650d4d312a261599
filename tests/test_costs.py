"""What a recipe costs: counts by hand, windows by nnU-Net, hours and memory beside published ones."""

import json

import pytest
import torch
from dynamic_network_architectures.architectures import unet
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnunet_kits.cli.main import main
from nnunet_kits.costs.counting import size_of
from nnunet_kits.costs.known import KNOWN, NETWORKS
from nnunet_kits.costs.members import COUNTED, cases_of, count, identity, works_of
from nnunet_kits.costs.reckon import Assumptions, Work, cost_of, windows_of
from nnunet_kits.costs.table import beside_known, bill_of
from nnunet_kits.costs.usual import prepared, usual_scan
from nnunet_kits.preparation import Preparation
from nnunet_kits.recipes import load_recipe, recipe_names

HOUR = Work(1, 55 / 100, 10**9, (10, 20, 20), 2, 100, (10, 20, 20), iterations=90, validation_iterations=30)
"""100 epochs of 90 iterations of 0.06 s, three passes of 0.02 s for two images, and 30 of one: 6 s an epoch."""


def test_operations_outputs_and_parameters_are_those_counted_by_hand():
    with torch.device("meta"):
        network = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv3d(4, 2, 1, stride=2),
            nn.ConvTranspose3d(2, 3, 2, stride=2),
        )
    size = size_of(network, (4, 4, 4))
    assert size.parameters == (27 * 4 + 4) + (4 * 2 + 2) + (2 * 3 * 8 + 3)
    assert size.forward_tflop * 1e12 == pytest.approx(2 * (27 * 4 * 64 + 4 * 2 * 8 + 2 * 3 * 8 * 8))
    assert size.outputs == 4 * 64 + 4 * 64 + 2 * 8 + 3 * 64


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_the_networks_that_others_trained_have_the_size_that_is_kept(known):
    arguments = {**known.arch_kwargs, "dropout_op": None, "dropout_op_kwargs": None}
    classes = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    assert hasattr(unet, known.network)
    with torch.device("meta"):
        network = get_network_from_plans(
            NETWORKS + known.network, arguments, classes, 1, 3, allow_init=False, deep_supervision=True
        )
    size = size_of(network, known.patch_size)
    assert size.forward_tflop == pytest.approx(known.forward_tflop, rel=1e-5)
    assert size.outputs == known.outputs


def test_hours_meet_the_published_ones_within_15_percent_and_memory_within_6():
    rows = beside_known(Assumptions())
    assert len(rows) == 4
    for _, hours, hours_there, memory_gb, memory_there in rows:
        assert hours == pytest.approx(hours_there, rel=0.15)
        assert memory_gb == pytest.approx(memory_there, rel=0.06)


@pytest.mark.parametrize(
    ("shape", "patch", "step"), [((300, 200, 100), (96, 128, 128), 0.5), ((97, 128, 129), (96, 128, 128), 0.75)]
)
def test_windows_are_as_many_as_nnunets(shape, patch, step):
    padded = tuple(max(size, edge) for size, edge in zip(shape, patch, strict=True))
    steps = compute_steps_for_sliding_window(padded, patch, step)
    assert windows_of(shape, patch, (step,) * 3) == len(steps[0]) * len(steps[1]) * len(steps[2])


def test_a_slice_is_a_window_of_a_two_dimensional_network():
    assert windows_of((40, 512, 512), (512, 512)) == 40
    assert windows_of((40, 512, 512), (256, 512)) == 40 * 3


def test_an_hour_is_that_of_the_iterations_three_passes_each_and_of_validation():
    cost = cost_of(HOUR)
    assert cost.seconds_per_iteration == pytest.approx(0.06)
    assert cost.training_hours * 3600 == pytest.approx(100 * (90 * 0.06 + 30 * 0.02))
    assert cost.gpu_gb == pytest.approx(3.3 + 2 * 1.89)


def test_a_measured_time_goes_before_the_rate_for_every_member_or_for_one():
    given = Assumptions(seconds_per_iteration={"": 0.12, "fine": 0.6})
    assert cost_of(HOUR, "coarse", given).training_hours == pytest.approx(2 * cost_of(HOUR).training_hours)
    assert cost_of(HOUR, "fine", given).training_hours == pytest.approx(10 * cost_of(HOUR).training_hours)
    assert cost_of(HOUR, assumptions=Assumptions(110)).training_hours == pytest.approx(cost_of(HOUR).training_hours / 2)


def test_a_usual_ct_is_cropped_to_kidneys_and_margin_or_has_the_size_of_the_rule():
    assert prepared(Preparation()).shape == (137, 513, 513)
    assert prepared(Preparation((4, 20, 20))).shape == (52, 169, 322)  # 156 x 132 x 251 mm
    assert prepared(Preparation(size=(128, 128, 128))).at(None) == (128, 128, 128)
    assert prepared(Preparation()).at((1.99, 1.99, 1.99)) == (207, 201, 201)  # George's own median


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_counted_before(name):
    recipe, counted = load_recipe(name), json.loads(COUNTED.read_text())
    assert all(identity(recipe, member) in counted for member in recipe.members.values())
    bill = bill_of(recipe, Assumptions())
    assert bill.gpu_hours == pytest.approx(sum(row.total_hours for row in bill.rows))
    assert all(row.total_hours > 0 for row in bill.rows)


def test_phantoms_are_as_many_as_the_recipe_makes():
    assert cases_of(load_recipe("smoke")) == 5
    assert cases_of(load_recipe("kits23_ours")) == 489


def test_our_fine_networks_fit_the_24_gb_that_their_plans_are_sized_for():
    rows = {row.what: row for row in bill_of(load_recipe("kits23_ours"), Assumptions()).rows}
    assert rows["full"].gpu_gb < 24 > rows["low"].gpu_gb
    region = usual_scan(load_recipe("kits23_ours").members["low"]).at((1.5, 1.5, 1.5))
    assert all(size <= edge for size, edge in zip(region, rows["low"].patch_size, strict=True))  # both kidneys at once


@pytest.mark.slow
def test_what_is_kept_of_a_network_is_what_planner_and_network_give():
    recipe, counted = load_recipe("kits19_chenjin_unet2d"), json.loads(COUNTED.read_text())
    for key, size in count(recipe, list(recipe.members.values())).items():
        assert counted[key] == size
    assert works_of(recipe)["model"].parameters == 12_291_123  # see docs/reference/published-systems.md


def test_the_command_prints_the_bill_its_assumptions_and_the_published_hours(capsys):
    assert main(["recipes", "show", "kits23_ours", "--cost", "--seconds-per-iteration", "0.5", "full=1"]) == 0
    out = capsys.readouterr().out
    assert "full: 1 s an iteration, as given" in out
    assert "every training: 0.5 s an iteration, as given" in out
    (line,) = (line for line in out.splitlines() if line.startswith("nnU-Net ResEnc L "))
    assert " 35.0 " in line
    assert main(["recipes", "show", "kits23_ours", "--cost", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gpu_hours"] > 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "kits23_ours", "--cost", "--tflops", "0"], "--tflops 0: a GPU that does nothing"),
        (["show", "kits23_ours", "--cost", "--seconds-per-iteration", "x=1"], "the members are coarse, full, low."),
        (
            ["show", "kits23_ours", "--cost", "--seconds-per-iteration", "full=0"],
            "is not S or MEMBER=S with a positive",
        ),
        (["check", "kits23_ours", "--cost"], "--cost goes with show"),
    ],
)
def test_what_makes_no_bill_is_one_line(words, said, capsys):
    assert main(["recipes", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
