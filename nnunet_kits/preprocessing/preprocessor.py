"""nnU-Net's DefaultPreprocessor with its slow steps replaced by equal fast ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from numpy.typing import NDArray

from nnunet_kits.errors import PreprocessingError
from nnunet_kits.geometry import Box, copy_planes, nonzero_box
from nnunet_kits.images import NIFTI, Scan, check_same_grid, read_grid, read_scan, read_volume
from nnunet_kits.intensity import planned_intensity
from nnunet_kits.preprocessing.foreground import outside, sample_locations
from nnunet_kits.resampling.grid import ModelGrid, model_grid
from nnunet_kits.resampling.labels import resample_labels
from nnunet_kits.resampling.scheme import Kind
from nnunet_kits.resampling.volumes import resample_volume

CODECS = {"lz4hc": blosc2.Codec.LZ4HC, "lz4": blosc2.Codec.LZ4}
"""Compressors whose files stock training reads. nnU-Net's own is lz4hc; lz4 is faster and its files are larger."""


@dataclass
class _Case:
    """A case on its way. Its arrays are replaced as it goes, so that no earlier ones stay in memory.

    Attributes:
        image: (c, z, y, x), normalised.
        labels: (1, z, y, x), -1 where the image is empty and no label is set.
        is_labelled: whether there is a label map; else ``labels`` tells what is empty alone.
        grid: how the scan lies on the plans' grid.
        properties: what nnU-Net keeps beside the arrays.
    """

    image: NDArray[np.float32]
    labels: NDArray[Any]
    is_labelled: bool
    grid: ModelGrid
    properties: dict[str, Any]


class FastPreprocessor(DefaultPreprocessor):
    """Gives what DefaultPreprocessor gives: images within 1e-4 after normalisation, all else identical.

    Args:
        codec: how the arrays are compressed, of :data:`CODECS`.
    """

    def __init__(self, codec: str = "lz4hc") -> None:
        super().__init__(verbose=False)
        self.codec = codec

    def run_case(
        self,
        image_files: list[str],
        seg_file: str | None,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict[str, Any] | str,
    ) -> tuple[NDArray[np.float32], NDArray[Any], dict[str, Any]]:
        """Read and preprocess one case; arguments and result as nnU-Net's method of this name."""
        managers = (plans_manager, configuration_manager)
        scan = read_files(image_files, plans_manager)
        _check_finite(image_files, scan.array)
        seg = None if seg_file is None else read_files([seg_file], plans_manager).array
        if seg_file is not None and seg is not None:
            _check_labels(image_files[0], seg_file, seg, plans_manager.get_label_manager(dataset_json))
        case = self._normalised_case(scan.array, seg, scan.properties, *managers)
        del scan, seg  # what was read leaves its memory to the resampling
        return self._resampled_case(case, *managers, dataset_json)

    def run_case_npy(
        self,
        data: NDArray[Any],
        seg: NDArray[Any] | None,
        properties: dict[str, Any],
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict[str, Any] | str,
    ) -> tuple[NDArray[np.float32], NDArray[Any], dict[str, Any]]:
        """Preprocess one case; arguments and result as nnU-Net's method of this name.

        Neither ``data`` (c, z, y, x) nor ``seg`` (1, z, y, x) is changed; both may have any real dtype.

        Raises:
            PreprocessingError: the two have different shapes.
            ResamplingError: the image holds NaN.
        """
        managers = (plans_manager, configuration_manager)
        case = self._normalised_case(data, seg, properties, *managers)
        return self._resampled_case(case, *managers, dataset_json)

    def run_case_save(
        self,
        output_filename_truncated: str,
        image_files: list[str],
        seg_file: str,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict[str, Any] | str,
    ) -> None:
        """Read, preprocess and save one case; arguments and files as nnU-Net's method of this name."""
        made = self.run_case(image_files, seg_file, plans_manager, configuration_manager, dataset_json)
        save_case(Path(output_filename_truncated), *made, configuration_manager.patch_size, self.codec)

    def _normalised_case(
        self,
        data: NDArray[Any],
        seg: NDArray[Any] | None,
        properties: dict[str, Any],
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
    ) -> _Case:
        """Turn, crop and normalise image and label map into arrays of their own."""
        if seg is not None and data.shape[1:] != seg.shape[1:]:
            raise PreprocessingError(
                f"the image has {data.shape[1:]} voxels but the label map {seg.shape[1:]} (z, y, x). "
                "Both must lie on one grid: convert the case again."
            )
        grid = model_grid(
            plans_manager.plans,
            configuration_manager.configuration,
            nonzero_box(data),
            data.shape[1:],
            properties["spacing"],
        )
        turned = [0, *(axis + 1 for axis in grid.axes)]
        data = data.transpose(turned)
        inside = (slice(None), *(slice(*rows) for rows in grid.cropped))
        labels = _labels(None if seg is None else seg.transpose(turned)[inside], data, grid.cropped)
        image = self._normalised(data[inside], labels, configuration_manager, plans_manager)
        properties["shape_before_cropping"] = grid.scan_shape
        properties["bbox_used_for_cropping"] = [list(rows) for rows in grid.cropped]
        properties["shape_after_cropping_and_before_resampling"] = grid.extent
        return _Case(image, labels, seg is not None, grid, properties)

    def _resampled_case(
        self,
        case: _Case,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict[str, Any] | str,
    ) -> tuple[NDArray[np.float32], NDArray[Any], dict[str, Any]]:
        """Resample image and label map, and draw voxels of each class."""
        case.image = _resampled(case.image, "data", configuration_manager, case.grid)
        case.labels = labels = _resampled(case.labels, "seg", configuration_manager, case.grid)
        if case.is_labelled:
            manager = plans_manager.get_label_manager(dataset_json)
            classes = list(manager.foreground_regions if manager.has_regions else manager.foreground_labels)
            if manager.has_ignore_label:
                classes.append([-1, *manager.all_labels])
            case.properties["class_locations"] = sample_locations(labels, classes)
            labels = self.modify_seg_fn(labels, plans_manager, dataset_json, configuration_manager)
        return case.image, labels.astype(np.int16 if labels.max() > 127 else np.int8, copy=False), case.properties

    def _normalised(
        self,
        data: NDArray[Any],
        labels: NDArray[Any],
        configuration: ConfigurationManager,
        plans: PlansManager,
    ) -> NDArray[np.float32]:
        """Normalise into a new float32 array (c, z, y, x)."""
        channels = range(len(data))
        planned = [planned_intensity(plans.plans, configuration.configuration, channel) for channel in channels]
        by_voxel = None not in planned
        image = np.empty(data.shape, np.float32)
        for source, target, intensity in zip(data, image, planned, strict=True):
            copy_planes(source, target, intensity if by_voxel else None)
        if by_voxel:
            return image
        return self._normalize(image, labels, configuration, plans.foreground_intensity_properties_per_channel)


def read_files(files: Sequence[str], plans: PlansManager) -> Scan:
    """Read the channels of a case, or its label map, as the plans' reader does; NIfTI in its stored dtype.

    Raises:
        ImageError: a file that is missing, truncated or damaged, or that the reader cannot read.
    """
    reader = str(plans.plans["image_reader_writer"])
    return read_scan([Path(file) for file in files], reader, lambda: plans.image_reader_writer_class(), read_volume)


def _check_finite(files: Sequence[str], array: NDArray[Any]) -> None:
    """Refuse a scan with a value that is no number, or infinite: it would be spread over its neighbours."""
    if array.dtype.kind == "f" and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        count = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise PreprocessingError(
            f"{', '.join(files)}: {count} voxels are NaN or infinite, but a CT holds a number in each. Export it again."
        )


def _check_labels(image: str, file: str, seg: NDArray[Any], manager: Any) -> None:
    """Refuse a label map with a value that the dataset has no label for, or that lies elsewhere than its image."""
    allowed = [0, *manager.all_labels, *([manager.ignore_label] if manager.has_ignore_label else [])]
    without_gap = seg.dtype.kind in "iub" and set(allowed) == set(range(max(allowed) + 1))
    known = without_gap and seg.min() >= 0 and seg.max() <= max(allowed)  # then no value needs to be looked up
    foreign = np.empty(0) if known else np.concatenate([np.setdiff1d(plane, allowed) for plane in seg[0]])
    if foreign.size:
        raise PreprocessingError(
            f"{file}: holds the value {foreign.min():g}, but the labels of the dataset are "
            f"{', '.join(map(str, sorted(set(allowed))))}. Convert the case again, or name the label in dataset.json."
        )
    if image.endswith(NIFTI) and file.endswith(NIFTI):
        check_same_grid(file, read_grid(Path(image)), read_grid(Path(file)))


def save_case(
    path: Path,
    image: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
    properties: dict[str, Any],
    patch_size: Sequence[int],
    codec: str = "lz4hc",
) -> None:
    """Write ``path``.b2nd, _seg.b2nd and .pkl, cut into the chunks and blocks that nnU-Net cuts them into."""
    labels = labels.astype(np.int16, copy=False)
    blocks, chunks = comp_blosc2_params(image.shape, tuple(patch_size), image.itemsize)
    blocks_seg, chunks_seg = comp_blosc2_params(labels.shape, tuple(patch_size), labels.itemsize)
    nnUNetDatasetBlosc2.save_case(
        image,
        labels,
        properties,
        str(path),
        chunks=chunks,
        blocks=blocks,
        chunks_seg=chunks_seg,
        blocks_seg=blocks_seg,
        codec=CODECS[codec],
    )


def _labels(seg: NDArray[Any] | None, data: NDArray[Any], box: Box) -> NDArray[Any]:
    """The cropped label map (1, z, y, x) in a small signed dtype, -1 where the image is empty and no label is set."""
    shape = [stop - start for start, stop in box]
    labels = np.zeros((1, *shape), np.int8 if seg is None else _label_dtype(seg))
    if seg is not None:
        copy_planes(seg[0], labels[0])
    for layer in outside(data):
        places = [index - start for index, (start, _) in zip(layer, box, strict=True)]
        inside = np.all([(p >= 0) & (p < size) for p, size in zip(places, shape, strict=True)], axis=0)
        z, y, x = (p[inside] for p in places)
        empty = labels[0, z, y, x] == 0
        labels[0, z[empty], y[empty], x[empty]] = -1
    return labels


def _label_dtype(seg: NDArray[Any]) -> np.dtype[Any]:
    """The smallest signed integer dtype that holds a label map as it is; float32 for labels that are no integers."""
    low, high = seg.min(), seg.max()
    for dtype in (np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.int32)):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            whole = seg.dtype.kind in "iub" or np.array_equal(seg.astype(dtype), seg)
            return dtype if whole else np.dtype(np.float32)
    return np.dtype(np.float32)


def _resampled(array: NDArray[Any], kind: Kind, configuration: ConfigurationManager, grid: ModelGrid) -> NDArray[Any]:
    """Resample all channels (c, z, y, x), by nnU-Net's own function where there is no exact equivalent."""
    if array.shape[1:] == grid.shape:
        return array
    scheme = grid.scheme(kind, configuration.configuration)
    if scheme is None:
        resample = getattr(configuration, f"resampling_fn_{kind}")
        given = array.astype(np.float32, copy=False)
        return np.asarray(resample(given, np.array(grid.shape), grid.scan_spacing_mm, grid.spacing_mm))
    if kind == "seg":
        return np.stack([resample_labels(channel, grid.shape, scheme) for channel in array])
    result = np.empty((len(array), *grid.shape), np.float32)
    for channel, out in zip(array, result, strict=True):
        resample_volume(channel, grid.shape, scheme, out=out)
    return result
