"""Models see patients as in their training, however a file stores them and whoever reads it."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform
from small_models import ByIntensity, model, plans_with
from test_inference import SPACING, abdomen

from nnunet_kits.errors import InferenceError
from nnunet_kits.geometry import crop
from nnunet_kits.inference import jobs
from nnunet_kits.inference.coarse_to_fine import predict_array
from nnunet_kits.inference.jobs import CoarseToFine, Job
from nnunet_kits.inference.orientation import Axes, Turn, axes_of, coarse_turn, fine_axes, turn_between
from nnunet_kits.inference.scan import Clock

ORIENTATIONS = ["".join(o) for p in itertools.permutations(("LR", "AP", "IS")) for o in itertools.product(*p)]
orientations = st.sampled_from(ORIENTATIONS)


@settings(max_examples=60, deadline=None)
@given(orientations, orientations)
def test_arrays_are_turned_as_nibabel_turns_them_and_back(there, wanted):
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    turn = turn_between(there, wanted)
    expected = apply_orientation(array, ornt_transform(axcodes2ornt(there), axcodes2ornt(wanted)))
    assert np.array_equal(turn(array), expected)
    assert np.array_equal(turn.back(turn(array)), array)
    assert turn.along(array.shape) == turn(array).shape
    assert turn.is_none == (there == wanted)


@settings(max_examples=60, deadline=None)
@given(orientations, orientations, st.data())
def test_a_box_turns_with_its_array(there, wanted, data):
    array = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    box = tuple(tuple(sorted(data.draw(st.tuples(*[st.integers(0, size)] * 2)))) for size in array.shape)
    turn = turn_between(there, wanted)
    assert np.array_equal(crop(turn(array), turn.box(box, array.shape)), turn(crop(array, box)))
    assert turn.box_back(turn.box(box, array.shape), array.shape) == box


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "IPL", "PIR"])
@pytest.mark.parametrize("reader", ["NibabelIO", "NibabelIOWithReorient", "SimpleITKIO", "SimpleITKIOWithReorient"])
def test_the_axes_are_those_that_nnunets_own_readers_give(tmp_path, reader, orientation):
    """A ramp that rises towards the patient's head, back or right tells along which axis of the array that is."""
    from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

    ras = nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.eye(4))
    turned = ras.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation)))
    places = np.stack(np.meshgrid(*map(np.arange, turned.shape), indexing="ij"), -1) @ turned.affine[:3, :3].T
    found = None
    for axis, letters in enumerate(("LR", "PA", "IS")):
        nib.save(nib.Nifti1Image(places[..., axis].astype(np.float32), turned.affine), tmp_path / "ct.nii.gz")
        data, properties = recursive_find_reader_writer_by_name(reader)().read_images([str(tmp_path / "ct.nii.gz")])
        slopes = [np.diff(data[0], axis=n).mean() for n in range(3)]
        (along,) = np.flatnonzero(slopes)
        axes = axes_of(properties)
        assert axes.read[along] == letters[int(slopes[along] > 0)]
        found = axes
    assert found.stored == orientation[::-1]


def test_where_a_file_tells_no_directions_only_equal_models_are_served():
    assert axes_of({"spacing": [1, 1, 1]}) is None
    assert fine_axes(None, None, "m") is None
    assert coarse_turn(None, "NaturalImage2DIO", "NaturalImage2DIO", None, None) == Turn()
    with pytest.raises(InferenceError, match="this file tells no directions"):
        fine_axes("RAS", None, "m")
    with pytest.raises(InferenceError, match="this file tells no directions"):
        coarse_turn("RAS", "a", "a", None, None)


@pytest.mark.parametrize(
    ("orientation", "reader", "shown", "expected"),
    [
        (None, "SimpleITKIO", "LPI", "LPI"),  # as the fine one's
        ("RAS", "SimpleITKIO", "LPI", "SAR"),
        (None, "NibabelIOWithReorient", "LPI", "SAR"),
        (None, "NibabelIO", "SPL", "LPI"),  # the fine one is turned, this one sees the file
        (None, "SimpleITKIO", "SPL", "LPI"),
    ],
)
def test_a_coarse_model_sees_what_its_own_reader_would_give_it(orientation, reader, shown, expected):
    axes = Axes("LPI", "LPI")
    assert coarse_turn(orientation, reader, "SimpleITKIO", shown, axes) == turn_between(shown, expected)


class FirstHalf(torch.nn.Module):
    """Label 1 in the first half of a window along its first axis, wherever there is body, and label 0 in the second."""

    def forward(self, x):
        first = torch.zeros_like(x[:, :1])
        first[:, :, : x.shape[2] // 2] = 1
        there = (x[:, :1] > 0.5) * first
        return torch.cat([1 - there, there, 0 * there - 1, 0 * there - 1], 1)


def whole(network, orientation=None, **changes):
    made = model(network, plans_with(spacing=SPACING, patch=(64, 64, 64), **changes))
    made.orientation = orientation
    return made


def job_with(monkeypatch, fine, coarse=None):
    models = {"fine": fine, "coarse": coarse}
    monkeypatch.setattr(jobs, "load_model", lambda folder, *_: models[folder.name])
    return CoarseToFine(Job(("fine",), "coarse" if coarse else None))


@pytest.mark.parametrize("read", ["SPL", "LPI", "IRA"])
def test_a_model_of_known_orientation_finds_the_lower_half_in_any_scan(monkeypatch, read):
    """Trained on RAS files, so that its first axis rises: the first half is the lower one."""
    loaded = job_with(monkeypatch, whole(FirstHalf(), "RAS"))
    upright = np.full((12, 14, 16), 150.0, np.float32)
    turn = turn_between("SAR", read)
    found = loaded.predict(turn(upright), turn.along((3.0, 2.0, 2.0)), lambda _: None, Clock(), Axes(read, read))
    back = turn_between(read, "SAR")(found.labels)
    assert back[:6].all()
    assert not back[6:].any()
    assert [turn_between(read, "SAR").box(box, found.labels.shape) for box in found.boxes] == [
        ((0, 12), (0, 14), (0, 16))
    ]


def test_a_coarse_model_of_another_orientation_finds_the_right_place(monkeypatch):
    """The fine model sees the scan as it is read, the coarse one upright: what it finds below is looked at below."""
    loaded = job_with(monkeypatch, whole(ByIntensity()), whole(FirstHalf(), "RAS"))
    upright = np.full((60, 30, 30), 150.0, np.float32)
    turn = turn_between("SAR", "LPI")
    found = loaded.predict(turn(upright), (2.0, 2.0, 3.0), lambda _: None, Clock(), Axes("LPI", "LPI"))
    ((_, _, (start, stop)),) = found.boxes[:1]
    assert stop == 60  # the last of an axis that runs downwards
    assert 60 - 32 - 9 <= start < 30


def test_only_named_labels_are_the_kidneys():
    image = abdomen()
    coarse, fine = model(ByIntensity(), plans_with(), "3d_lowres"), model(ByIntensity(), plans_with())
    everything = predict_array(image, SPACING, [fine], coarse)
    assert everything.labels.any()
    nothing = predict_array(image, SPACING, [fine], coarse, kidneys=(9,))
    assert nothing.notes == ["the coarse model found no kidney: the label map is empty"]
    assert np.array_equal(predict_array(image, SPACING, [fine], coarse, kidneys=(1, 2, 3)).labels, everything.labels)
