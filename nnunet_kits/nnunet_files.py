"""nnU-Net's dataset.json, plans and fingerprints, read and checked in one way.

nnU-Net itself looks at few of their values before it uses them. What is wrong with one is told here with the file, the
key and what is allowed, before anything is done by it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nnunet_kits.complaints import complaint
from nnunet_kits.errors import KitsError
from nnunet_kits.json_files import after, read_object

Edge = Annotated[int, Field(gt=0)]
Length = Annotated[float, Field(gt=0)]
Case = Annotated[str, Field(min_length=1)]


class Document(BaseModel):
    """A JSON object of nnU-Net's; keys that are not looked at here are left as they are."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class DatasetJson(Document):
    """``dataset.json``.

    Attributes:
        channel_names: channel -> what it shows.
        modality: what nnU-Net takes in its place where it is missing.
        labels: name -> value, or values of a region.
        file_ending: of images and label maps.
        regions_class_order: value that is written for each region.
    """

    channel_names: dict[str, str] | None = Field(default=None, min_length=1)
    modality: dict[str, str] | None = Field(default=None, min_length=1)
    labels: dict[str, int | list[int]] = Field(min_length=1)
    file_ending: str | None = Field(default=None, pattern=r"^\.[^/\\]+$")
    regions_class_order: list[int] | None = None


class Fingerprint(Document):
    """``dataset_fingerprint.json``.

    Attributes:
        spacings: of each case, in mm.
        shapes_after_crop: of each case, in voxels.
        foreground_intensity_properties_per_channel: channel -> percentiles and moments of the foreground.
        median_relative_size_after_cropping: share of the voxels that cropping leaves.
    """

    spacings: list[Annotated[list[Length], Field(min_length=3, max_length=3)]] = Field(min_length=1)
    shapes_after_crop: list[Annotated[list[Edge], Field(min_length=3, max_length=3)]] = Field(min_length=1)
    foreground_intensity_properties_per_channel: dict[str, dict[str, float]]
    median_relative_size_after_cropping: float


class Architecture(Document):
    """The network of a configuration.

    Attributes:
        network_class_name: dotted path of a class.
        arch_kwargs: what it is made with.
    """

    network_class_name: str
    arch_kwargs: dict[str, Any]
    requires_import: list[str] = Field(default=[], alias="_kw_requires_import")


class Configuration(Document):
    """A configuration of plans, with what it inherits.

    Attributes:
        data_identifier: folder of the preprocessed data.
        batch_size: cases in a batch.
        patch_size: voxels of a patch, two or three axes.
        spacing: in mm, along the axes of the plans.
        normalization_schemes: one a channel.
        use_mask_for_norm: one a channel.
        resampling_fn_data: name of nnU-Net's function for images.
        resampling_fn_seg: for label maps.
        resampling_fn_probabilities: for predictions.
        architecture: the network.
        previous_stage: configuration whose predictions a cascade reads.
    """

    data_identifier: str | None = Field(default=None, pattern=r"^[^/\\]+$")
    preprocessor_name: str | None = None
    batch_size: Edge | None = None
    patch_size: list[Edge] | None = Field(default=None, min_length=2, max_length=3)
    spacing: list[Length] | None = Field(default=None, min_length=2, max_length=3)
    normalization_schemes: list[str] | None = Field(default=None, min_length=1)
    use_mask_for_norm: list[bool] | None = Field(default=None, min_length=1)
    resampling_fn_data: str | None = None
    resampling_fn_seg: str | None = None
    resampling_fn_probabilities: str | None = None
    resampling_fn_data_kwargs: dict[str, Any] | None = None
    resampling_fn_seg_kwargs: dict[str, Any] | None = None
    resampling_fn_probabilities_kwargs: dict[str, Any] | None = None
    architecture: Architecture | None = None
    previous_stage: str | None = None


Axes = Annotated[list[Annotated[int, Field(ge=0, le=2)]], Field(min_length=3, max_length=3)]


class Plans(Document):
    """Plans, before what configurations inherit is looked up.

    Attributes:
        dataset_name: ``DatasetNNN_Name``.
        plans_name: as the file.
        image_reader_writer: nnU-Net's reader.
        transpose_forward: axes of the file in the order of the plans.
        transpose_backward: the way back.
        label_manager: nnU-Net's label manager.
        foreground_intensity_properties_per_channel: channel -> percentiles and moments.
        configurations: name -> configuration.
    """

    dataset_name: str | None = Field(default=None, pattern=r"^[^/\\]+$")
    plans_name: str | None = Field(default=None, pattern=r"^[^/\\]+$")
    image_reader_writer: str | None = None
    transpose_forward: Axes | None = None
    transpose_backward: Axes | None = None
    label_manager: str | None = None
    foreground_intensity_properties_per_channel: dict[str, dict[str, float]] | None = None
    configurations: dict[str, dict[str, Any]] = Field(min_length=1)


def read_dataset_json(
    path: Path, error: type[KitsError] = KitsError, advice: str = "", needed: Sequence[str] = ()
) -> dict[str, Any]:
    """A ``dataset.json``, as it stands there.

    Args:
        path: of the file.
        error: raised where it is none.
        advice: what to do then.
        needed: keys that must be there.

    Raises:
        KitsError: of the type ``error``: as :func:`read_object`, a value that nnU-Net cannot use, or a key is missing.
    """
    content = _checked(path, read_object(path, error, advice), DatasetJson, error, advice)
    for key in needed:
        if content.get(key) is None:
            raise error(f"{path}: {key} is missing.{after(advice)}")
    return content


def read_fingerprint(path: Path, error: type[KitsError] = KitsError, advice: str = "") -> dict[str, Any]:
    """A ``dataset_fingerprint.json``, as it stands there.

    Raises:
        KitsError: of the type ``error``: as :func:`read_object`, or a value that nnU-Net cannot use.
    """
    return _checked(path, read_object(path, error, advice), Fingerprint, error, advice)


NEEDED_OF_PLANS = tuple(Plans.model_fields)
"""What plans must have for data and networks to be made by them."""

NEEDED = tuple(key for key in Configuration.model_fields if key != "previous_stage")
"""What a configuration must have for its data to be made and its network to be built."""

OLD = "UNet_class_name"
"""A key that plans of older versions of nnU-Net v2 have in place of ``architecture``; nnU-Net still takes them."""


def read_plans(
    path: Path, error: type[KitsError] = KitsError, advice: str = "", complete: bool = False
) -> dict[str, Any]:
    """Plans, as they stand there.

    Args:
        path: of the file.
        error: raised where they are none.
        advice: what to do then.
        complete: whether every configuration must have all that data and networks are made from.

    Raises:
        KitsError: of the type ``error``: as :func:`read_object`, a value that nnU-Net cannot use, or a configuration
            that inherits from none, or from itself.
    """
    content = _checked(path, read_object(path, error, advice), Plans, error, advice)
    lacking = [key for key in NEEDED_OF_PLANS if content.get(key) is None]
    if complete and lacking:
        raise error(f"{path}: {', '.join(lacking)} is missing.{after(advice)}")
    for key in ("transpose_forward", "transpose_backward"):
        if sorted(content.get(key) or [0, 1, 2]) != [0, 1, 2]:
            raise error(f"{path}: {key} is {content[key]}, but must be an order of 0, 1, 2.{after(advice)}")
    configurations = content["configurations"]
    for name in configurations:
        found = inherited(path, name, configurations, error)
        _checked(path, found, Configuration, error, advice, f"configuration {name}: ")
        lacking = [key for key in NEEDED if found.get(key) is None and not (key == "architecture" and OLD in found)]
        if complete and lacking:
            raise error(f"{path}: configuration {name}: {', '.join(lacking)} is missing.{after(advice)}")
    return content


def inherited(
    path: Path, name: str, configurations: dict[str, dict[str, Any]], error: type[KitsError]
) -> dict[str, Any]:
    """A configuration with what it inherits, as nnU-Net looks it up.

    Args:
        path: of the plans, for the message.
        name: of the configuration.
        configurations: all of the plans.
        error: its type.

    Raises:
        KitsError: of that type: it inherits from none, or from itself.
    """
    line = [name]
    while (parent := configurations[line[-1]].get("inherits_from")) is not None:
        if not isinstance(parent, str) or parent not in configurations or parent in line:
            raise error(
                f"{path}: configuration {line[-1]} inherits from {parent!r}, but must from another of "
                f"{', '.join(configurations)}."
            )
        line.append(parent)
    found: dict[str, Any] = {}
    for each in reversed(line):
        found |= configurations[each]
    return found


def _checked(
    path: Path, content: dict[str, Any], model: type[Document], error: type[KitsError], advice: str, where: str = ""
) -> dict[str, Any]:
    """The content, where it is of the model's form."""
    try:
        model.model_validate(content)
    except ValidationError as fault:
        raise error(f"{path}: {where}{complaint(model, fault)}{after(advice)}") from fault
    return content
