"""A case's pictures: as files, or inside the page."""

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from nnunet_kits.atomic import atomic_path
from nnunet_kits.errors import ImageError
from nnunet_kits.geometry import PLANES
from nnunet_kits.reporting.canvas import beside
from nnunet_kits.reporting.overlays import render_planes, render_slices, render_strip
from nnunet_kits.reporting.study import ReportCase, load_case
from nnunet_kits.reporting.volume import Volume, embed


@dataclass(frozen=True)
class CasePictures:
    """What is shown of one case, each picture as a :func:`data_uri`.

    Attributes:
        planes: (plane, picture): axial, coronal and sagittal through the largest lesion.
        slices: (index, picture without overlay, with overlay) of axial slices from head to feet.
        volume: what the viewer shows; None without one.
    """

    planes: list[tuple[str, str]]
    slices: list[tuple[int, str, str]]
    volume: Volume | None = None


def draw_case(case: ReportCase, viewer_mb: float = 0.0) -> CasePictures:
    """The pictures of a case for the page.

    Args:
        case: its files.
        viewer_mb: megabytes of the page that its viewer may take; 0 for none.

    Raises:
        KitsError: a file cannot be read, or the case's files do not lie on one grid.
    """
    shown = load_case(case)
    return CasePictures(
        [(plane, _png(image)) for plane, image in zip(PLANES, render_planes(shown), strict=True)],
        [(index, _jpeg(plain), _jpeg(overlaid)) for index, plain, overlaid in render_slices(shown)],
        embed(shown, viewer_mb) if viewer_mb else None,
    )


def write_case(case: ReportCase, folder: Path) -> None:
    """Write ``<case>_planes.png`` and ``<case>_slices.png``.

    Raises:
        KitsError: as :func:`draw_case`, or a picture cannot be written.
    """
    shown = load_case(case)
    for name, image in (("planes", beside(render_planes(shown))), ("slices", render_strip(shown))):
        path = folder / f"{case.name}_{name}.png"
        try:
            with atomic_path(path) as temporary:
                image.save(temporary, "PNG")
        except OSError as error:
            raise ImageError(f"{path}: cannot be written ({error.strerror}). Choose another folder.") from error


def data_uri(content: bytes, kind: str) -> str:
    """A file inside the page.

    Args:
        content: of the file.
        kind: the rest of its type, which begins with ``image/``.
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _png(image: Image.Image) -> str:
    """Of the planes; the hardest compression would take six times as long for a page that is a hundredth lighter."""
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return data_uri(buffer.getvalue(), "png")


def _jpeg(image: Image.Image) -> str:
    """Of the slices, whose number would make the page heavy."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=88, subsampling=0)
    return data_uri(buffer.getvalue(), "jpeg")
