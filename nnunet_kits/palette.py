"""The report's colours: Okabe and Ito's palette, which stays apart in every kind of colour blindness.

No colour stands alone: labels carry their letter, classes their name, folds a marker of their own.

Source: Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/.
"""

from nnunet_kits.labels import Label

Colour = tuple[int, int, int]
"""Red, green and blue from 0 to 255."""

BLUE: Colour = (0, 114, 178)
VERMILION: Colour = (213, 94, 0)
BLUISH_GREEN: Colour = (0, 158, 115)
REDDISH_PURPLE: Colour = (204, 121, 167)
SKY_BLUE: Colour = (86, 180, 233)
YELLOW: Colour = (240, 228, 66)

LABEL_COLOURS: dict[Label, Colour] = {Label.KIDNEY: BLUISH_GREEN, Label.TUMOR: VERMILION, Label.CYST: SKY_BLUE}
LABEL_NAMES: dict[Label, str] = {Label.KIDNEY: "Kidney", Label.TUMOR: "Tumor", Label.CYST: "Cyst"}
"""What the legend says; the first letter stands in the pictures."""

DIFFERENCE_COLOURS: dict[str, Colour] = {"missed": BLUE, "extra": REDDISH_PURPLE, "another label": YELLOW}
"""Of voxels that prediction and reference label differently."""

REGION_COLOURS: dict[str, Colour] = {
    "kidney_and_mass": BLUISH_GREEN,
    "mass": REDDISH_PURPLE,
    "tumor": VERMILION,
}
FOLD_COLOURS: tuple[Colour, ...] = (BLUE, VERMILION, BLUISH_GREEN, REDDISH_PURPLE, SKY_BLUE)


def css(colour: Colour) -> str:
    """As a style sheet and matplotlib's SVG write it: ``#009e73``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
