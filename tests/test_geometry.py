"""Orientations, boxes and planes of volumes."""

import math

import nibabel as nib
import numpy as np
import pytest
from small_report import KITS_AFFINE

from nnunet_kits import geometry


@pytest.mark.parametrize("code", ["RAS", "LPS", "IPL", "ARS", "PIR", "SLA"])
def test_every_orientation_becomes_head_to_feet_front_to_back_right_to_left(code):
    ipl = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), KITS_AFFINE)
    turn = nib.orientations.ornt_transform(nib.io_orientation(KITS_AFFINE), nib.orientations.axcodes2ornt(code))
    turned = ipl.as_reoriented(turn)
    assert "".join(nib.aff2axcodes(turned.affine)) == code
    array = np.asarray(turned.dataobj)
    assert (geometry.to_canonical(array, turned.affine) == np.asarray(ipl.dataobj)).all()
    assert geometry.canonical_spacing(turned.affine) == (5.0, 1.0, 1.0)


def test_an_oblique_volume_gets_the_closest_orientation():
    angle = math.radians(20)
    rotation = np.eye(4)
    rotation[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    array = np.arange(24).reshape(2, 3, 4)
    assert (geometry.to_canonical(array, rotation @ KITS_AFFINE) == array).all()
    assert geometry.canonical_spacing(rotation @ KITS_AFFINE) == pytest.approx((5, 1, 1))


def test_a_box_is_half_open_grows_in_millimetres_and_stops_at_the_border():
    mask = np.zeros((10, 20, 30), bool)
    assert geometry.bounding_box(mask) is None
    mask[2:4, 5:9, 29] = True
    box = geometry.bounding_box(mask)
    assert box == ((2, 4), (5, 9), (29, 30))
    assert geometry.crop(mask, box).shape == (2, 4, 1)
    assert geometry.grow_box(box, 10.0, (5.0, 2.0, 1.0), geometry.whole_box(mask.shape)) == ((0, 6), (0, 14), (19, 30))


def test_planes_are_cut_where_they_hold_most():
    mask = np.zeros((5, 6, 7), bool)
    mask[1:4, 2, 3] = True
    mask[2, 2:5, 3] = True
    assert geometry.fullest_point(mask) == (2, 2, 3)
    assert geometry.plane_through(mask, "axial", 2).sum() == 3
    assert geometry.plane_through(mask, "coronal", 2).shape == (5, 7)
    assert geometry.plane_through(mask, "sagittal", 3).shape == (5, 6)
