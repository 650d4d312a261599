"""Cases of a raw dataset in the making: each whole or not at all."""

import pytest

from nnunet_kits.cases.raw_dataset import Workshop, sizes_of
from nnunet_kits.errors import DerivationError, ImageError


@pytest.fixture
def room(tmp_path):
    for folder in (".made", "imagesTs"):
        (tmp_path / folder).mkdir()
    return Workshop(tmp_path, ".made", DerivationError)


def make(room, name, content=b"voxels"):
    with room.staging(name) as staging:
        (staging / "image").write_bytes(content)
        made = {f"imagesTs/{name}_0000.nii.gz": staging / "image"}
        return room.finish(name, made, {"case": name, "outputs": sizes_of(made)})


def test_a_case_is_finished_when_its_record_is_there_and_its_files_have_the_recorded_size(room):
    assert room.all_finished() == {}
    record = make(room, "a")
    assert room.all_finished() == {"a": record} == {"a": {"case": "a", "outputs": {"imagesTs/a_0000.nii.gz": 6}}}
    (room.dataset / "imagesTs" / "a_0000.nii.gz").write_bytes(b"vox")
    assert room.finished("a") is None


def test_a_case_that_fails_leaves_what_was_there_and_names_itself_once(room):
    record = make(room, "a")

    def fail():
        with room.staging("a") as staging:
            (staging / "image").write_bytes(b"half")
            raise ImageError("a: no such file")

    with pytest.raises(DerivationError, match=r"^a: no such file"):
        fail()
    assert room.all_finished() == {"a": record}
    assert not list((room.dataset / ".made").glob("*.staging"))


def test_the_remains_of_a_case_are_removed_and_not_those_of_one_whose_name_begins_alike(room):
    places = [room.dataset / ".made" / f"{name}.12345.staging" for name in ("a", "a.b", "a[1]")]
    for place in places:
        place.mkdir()
    make(room, "a")
    assert [place.exists() for place in places] == [False, True, True]
    make(room, "a[1]")
    assert [place.exists() for place in places] == [False, True, False]
    room.remove_left_overs()
    assert not places[1].exists()


def test_a_removed_case_is_gone_with_its_files(room):
    make(room, "a")
    make(room, "b")
    room.remove("a")
    assert list(room.all_finished()) == ["b"]
    assert [path.name for path in (room.dataset / "imagesTs").iterdir()] == ["b_0000.nii.gz"]
