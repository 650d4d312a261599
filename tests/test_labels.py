from nnunet_kits.labels import REGION_LABEL, REGIONS, Label, regions_of


def test_with_cysts_there_are_the_three_regions_of_the_challenge():
    assert regions_of((Label.KIDNEY, Label.TUMOR, Label.CYST)) == {
        "kidney_and_mass": (1, 2, 3),
        "mass": (2, 3),
        "tumor": (2,),
    }


def test_without_cysts_mass_would_equal_tumor_and_is_left_out():
    assert regions_of((Label.KIDNEY, Label.TUMOR)) == {"kidney_and_mass": (1, 2), "tumor": (2,)}


def test_writing_the_regions_label_from_large_to_small_restores_every_label():
    for label in (Label.KIDNEY, Label.TUMOR, Label.CYST):
        written = [REGION_LABEL[region] for region, members in REGIONS.items() if label in members]
        assert written[-1] == label


def test_an_edition_without_any_of_a_regions_labels_has_no_such_region():
    assert regions_of((Label.KIDNEY,)) == {"kidney_and_mass": (Label.KIDNEY,)}
