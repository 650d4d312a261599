"""Charts as they stand in a page: an SVG picture with its caption."""

from collections.abc import Mapping
from typing import NamedTuple

from matplotlib.figure import Figure

from nnunet_kits.reporting import figures
from nnunet_kits.reporting.pictures import data_uri
from nnunet_kits.status.training_log import History


class Chart(NamedTuple):
    """A chart: what stands over it, what is read to those who cannot see it, and where it is."""

    caption: str
    alt: str
    uri: str


def chart(caption: str, alt: str, figure: Figure) -> Chart:
    """A figure as a chart."""
    return Chart(caption, alt, data_uri(figures.to_svg(figure), "svg+xml"))


def training_curves(histories: Mapping[str, History]) -> list[Chart]:
    """Losses and pseudo Dice of a model's folds over epochs; none where no epoch was trained.

    Args:
        histories: fold -> its training.
    """
    drawn = (
        ("Loss: training solid, validation dashed", figures.loss_curves(histories)),
        ("Pseudo Dice on validation patches, mean over classes", figures.dice_curves(histories)),
    )
    return [chart(title, title, figure) for title, figure in drawn if figure is not None]
