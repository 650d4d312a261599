"""Which interpolation nnU-Net's default resampling uses for a case: one spline, or the thick axis apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

ANISOTROPY = 3.0
"""nnU-Net resamples the thickest axis apart where its voxel edge is more than this many times the thinnest."""

DEFAULT_FUNCTION = "resample_data_or_seg_to_shape"
"""nnU-Net's resampling function that :func:`scheme_of` describes, by the name that plans hold."""

NO_RESAMPLING = "no_resampling_hack"
"""nnU-Net's function that leaves everything on the scan's own voxels."""

Kind = Literal["data", "seg", "probabilities"]
"""What plans state a resampling function for: images, label maps, logits."""

KNOWN_OPTIONS = {"is_seg", "order", "order_z", "force_separate_z", "separate_z_anisotropy_threshold"}


@dataclass(frozen=True)
class Scheme:
    """How a volume is interpolated.

    Attributes:
        order: of the spline, 0 to 5; 0 takes the nearest voxel, 1 is linear, 3 is cubic.
        separate_axis: an axis that is resampled after, and apart from, the planes across it; None for none.
        separate_order: of the spline along that axis.
    """

    order: int
    separate_axis: int | None = None
    separate_order: int = 0

    def order_along(self, axis: int) -> int:
        """Order of the spline along one axis."""
        return self.separate_order if axis == self.separate_axis else self.order


def scheme_of(
    function: str, options: Mapping[str, Any], spacing: Sequence[float], new_spacing: Sequence[float]
) -> Scheme | None:
    """The interpolation that a plans file's resampling function and its arguments mean for one case.

    Args:
        function: ``resampling_fn_data``, ``resampling_fn_seg`` or ``resampling_fn_probabilities`` of the plans.
        options: the ``..._kwargs`` beside it.
        spacing: voxel edges before, in the array's axis order.
        new_spacing: voxel edges after.

    Returns:
        None where this package has no exact equivalent, whatever the spacings; then nnU-Net's own function must be
        called.

    Source: nnunetv2.preprocessing.resampling.default_resampling, version 2.8.1.
    """
    order, separate_order = options.get("order", 3), options.get("order_z", 0)
    if function != DEFAULT_FUNCTION or not KNOWN_OPTIONS.issuperset(options):
        return None
    if order not in range(6) or separate_order not in range(6):
        return None
    if options.get("is_seg") and (order > 1 or separate_order > 0):
        return None
    axis = separate_axis(
        spacing,
        new_spacing,
        options.get("force_separate_z", False),
        options.get("separate_z_anisotropy_threshold", ANISOTROPY),
    )
    return Scheme(order, axis, separate_order if axis is not None else 0)


def planned_scheme(
    kind: Kind, configuration: Mapping[str, Any], spacing: Sequence[float], new_spacing: Sequence[float]
) -> Scheme | None:
    """The interpolation of images, label maps or logits that a configuration asks for.

    Args:
        kind: what is resampled.
        configuration: of the plans, inheritance resolved.
        spacing: voxel edges before, in the array's axis order.
        new_spacing: voxel edges after.

    Returns:
        None as from :func:`scheme_of`, also where label maps are resampled as images or images as label maps.
    """
    options = configuration[f"resampling_fn_{kind}_kwargs"]
    if bool(options.get("is_seg", False)) != (kind == "seg"):
        return None
    return scheme_of(configuration[f"resampling_fn_{kind}"], options, spacing, new_spacing)


def separate_axis(
    spacing: Sequence[float], new_spacing: Sequence[float], force: bool | None, threshold: float = ANISOTROPY
) -> int | None:
    """The axis that is resampled apart, or None.

    It is the single thickest axis, before resampling or else after it. Two equally thick axes are none.

    Args:
        spacing: voxel edges before.
        new_spacing: voxel edges after.
        force: plans' ``force_separate_z``; None decides by the threshold.
        threshold: ratio of the thickest to the thinnest edge above which an axis is thick.
    """
    if force is None:
        thick = next((s for s in (spacing, new_spacing) if max(s) / min(s) > threshold), None)
    else:
        thick = spacing if force else None
    if thick is None:
        return None
    thickest = [axis for axis, edge in enumerate(thick) if edge == max(thick)]
    return thickest[0] if len(thickest) == 1 else None
