"""Strangers' zips: nothing leaves the folder, nothing else than a model is unpacked, and each fault is named."""

import stat
import zipfile

import pytest
from small_zips import MODEL, anything, model_files, zipped

from nnunet_kits.errors import ModelError
from nnunet_kits.models import unpacking
from nnunet_kits.models.install import import_model
from nnunet_kits.models.places import installed_names

GOOD = list(model_files().items())


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    monkeypatch.setenv("NNUNET_KITS_MODELS", str(tmp_path / "models"))


def entry(name, mode=stat.S_IFREG | 0o644):
    info = zipfile.ZipInfo("placeholder")
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    return info


def refused(tmp_path, files, message):
    archive = tmp_path / "a.zip"
    archive.write_bytes(files if isinstance(files, bytes) else zipped(files))
    before = {path for path in tmp_path.rglob("*") if "models" not in path.parts}
    with pytest.raises(ModelError, match=message) as raised:
        import_model(archive, anything)
    assert "\n" not in str(raised.value)
    assert {path for path in tmp_path.rglob("*") if "models" not in path.parts} == before
    assert [path.name for path in (tmp_path / "models").iterdir()] == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil.txt", "climbs out of the folder"),
        (f"{MODEL}/../../../evil.txt", "climbs out of the folder"),
        (f"{MODEL}//evil.txt", "has an empty part"),
        ("/etc/evil.txt", "is an absolute path"),
        ("C:/evil.txt", "is an absolute path"),
        ("..\\evil.txt", "is an absolute path, or has signs"),
        (f"{MODEL}/a\x00b", "is an absolute path, or has signs"),
        (f"{MODEL}/a\nb", "has a name that not every system can write"),
        (f"{MODEL}/aux.json", "has a name that not every system can write"),
        (f"{MODEL}/plans.json.", "has a name that not every system can write"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused_by_name(tmp_path, name, why):
    refused(tmp_path, [*GOOD, (entry(name), b"evil")], why)


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        (stat.S_IFLNK | 0o777, "is a link"),
        (stat.S_IFCHR | 0o666, "is a device"),
        (stat.S_IFBLK | 0o666, "is a device"),
        (stat.S_IFIFO | 0o666, "is a device"),
    ],
)
def test_links_and_devices_are_refused(tmp_path, mode, why):
    refused(tmp_path, [*GOOD, (entry(f"{MODEL}/fold_2/checkpoint_best.pth", mode), b"/etc/passwd")], why)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", [f"{MODEL}/plans.json", f"{MODEL}/PLANS.json"])
def test_a_name_that_stands_twice_is_refused(tmp_path, name):
    refused(tmp_path, [*GOOD, (name, b"{}")], "stands in it twice")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "FREE_TIMES_BYTES", 10**6)
    weights = bytes(200 * 10**6)
    refused(tmp_path, {**dict(GOOD), f"{MODEL}/fold_3/checkpoint_best.pth": weights}, "would unpack from .* a bomb")


def test_entries_that_share_their_bytes_are_a_bomb_too(tmp_path):
    content = zipped(GOOD)
    archive = tmp_path / "a.zip"
    archive.write_bytes(content)
    with zipfile.ZipFile(archive) as opened:
        first = next(info for info in opened.infolist() if info.filename.endswith(".pth"))
        last = opened.infolist()[-1]
    # The second weights' entry points at the first's bytes, and there are no other bytes.
    start = last.header_offset
    end = content.index(b"PK\x01\x02")
    directory = content[end:].replace(start.to_bytes(4, "little"), first.header_offset.to_bytes(4, "little"))
    directory = directory.replace(end.to_bytes(4, "little"), start.to_bytes(4, "little"))
    refused(tmp_path, content[:start] + directory, "a bomb|is no zip, or damaged")


def test_a_lie_about_the_size_is_a_damaged_zip(tmp_path):
    content = zipped(GOOD)
    size = len(dict(GOOD)[f"{MODEL}/dataset.json"]).to_bytes(4, "little")
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(f"{MODEL}/dataset.json".encode()))
    lie = content[:at] + content[at:].replace(size, (3).to_bytes(4, "little"), 1)
    refused(tmp_path, lie, r"a\.zip: is no zip, or damaged")


def test_encrypted_and_strangely_packed_entries_are_refused(tmp_path):
    content = bytearray(zipped(GOOD))
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1
    refused(tmp_path, bytes(content), "is encrypted")
    packed = zipfile.ZipInfo(f"{MODEL}/x.json")
    packed.compress_type = zipfile.ZIP_LZMA
    refused(tmp_path, [*GOOD, (packed, b"{}")], r"is packed in a way \(number 14\)")


def test_cut_and_foreign_files_are_no_zips(tmp_path):
    refused(tmp_path, zipped(GOOD)[:-400], "is no zip, or damaged")
    refused(tmp_path, b"<html>", "is no zip, or damaged")


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MOST_ENTRIES", 3)
    refused(tmp_path, GOOD, "has 4 entries; 3 at most")


def test_a_model_of_nnunet_v1_is_refused_by_name(tmp_path):
    old = "nnUNet/3d_fullres/Task779_Kidney/nnUNetTrainerV2__nnUNetPlansv2.1"
    files = {f"{old}/plans.pkl": b"", f"{old}/fold_0/model_final_checkpoint.model": b""}
    refused(tmp_path, files, r"a model of nnU-Net v1 \(Task779_Kidney")


def test_a_zip_without_a_model_says_what_it_holds(tmp_path):
    refused(tmp_path, {"data/a.nii.gz": b"", "readme.md": b""}, r"no model of nnU-Net v2.*It holds data, readme\.md")
    without = {name: content for name, content in GOOD if not name.endswith(".pth")}
    refused(tmp_path, without, "no model of nnU-Net v2")


def test_only_the_models_in_a_zip_are_unpacked(tmp_path):
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped({**{f"results/{name}": content for name, content in GOOD}, "setup.py": b"evil"}))
    made = import_model(archive, anything, "mine")
    assert installed_names() == ["mine"]
    assert made.folders == [MODEL]
    files = sorted(path.relative_to(made.place).as_posix() for path in made.place.rglob("*") if path.is_file())
    assert files == sorted(["model.json", *dict(GOOD)])
    assert (made.checkpoint, made.labels) == ("checkpoint_best.pth", {"kidney": 1, "mass": 2})
    with pytest.raises(ModelError, match="is there already"):
        import_model(archive, anything, "mine")
