"""Downloads go on where they were cut, are verified, and are not begun where they cannot end."""

import shutil
from types import SimpleNamespace

import pooch
import pytest
from small_zips import MODEL, WEIGHTS, anything, checkpoint, model_files, zipped
from zenodo import served

from nnunet_kits.cli.main import main
from nnunet_kits.errors import ModelError
from nnunet_kits.models import download as downloading
from nnunet_kits.models.catalogue import Source
from nnunet_kits.models.download import download
from nnunet_kits.models.install import find_offer, install
from nnunet_kits.models.places import installed
from nnunet_kits.models.sources import find_remote, source_of

DOI = "doi:10.5281/zenodo.1"
ZIP = zipped(model_files(), "nnUNet_results/")


@pytest.fixture
def zenodo(monkeypatch, tmp_path):
    monkeypatch.setenv("NNUNET_KITS_MODELS", str(tmp_path / "models"))
    with served() as server:
        server.files["KidneyCT.zip"] = ZIP
        monkeypatch.setattr(pooch.downloaders, "doi_to_url", lambda doi, **_: "https://zenodo.org/records/1")
        monkeypatch.setattr(pooch.downloaders.ZenodoRepository, "base_api_url", f"{server.address}/api/records")
        yield server


def url(zenodo, name="KidneyCT.zip"):
    return find_remote(Source(url=f"{zenodo.address}/files/{name}"))


def test_a_doi_tells_address_checksum_size_licence_and_citation(zenodo):
    offer = find_offer(DOI)
    assert offer.remote.url == f"{zenodo.address}/files/KidneyCT.zip"
    assert offer.remote.checksum.startswith("md5:")
    assert offer.remote.bytes == len(ZIP)
    assert offer.licence == "cc-by-4.0"
    assert offer.citation == "Doe, J., Roe, R.. A kidney model. 2026. https://doi.org/10.5281/zenodo.1"
    assert offer.name == "KidneyCT"


def test_of_several_zips_one_must_be_named(zenodo):
    zenodo.files |= {"other.zip": b"PK", "read.me": b""}
    with pytest.raises(ModelError, match=r"holds KidneyCT\.zip, other\.zip, read\.me\. Name the zip: doi:.*FILE\.zip"):
        find_offer(DOI)
    assert find_offer(f"{DOI}/KidneyCT.zip").remote.name == "KidneyCT.zip"
    with pytest.raises(ModelError, match=r"holds no none\.zip"):
        find_offer(f"{DOI}/none.zip")


def test_a_cut_download_goes_on_and_asks_for_the_rest_alone(zenodo, tmp_path):
    zenodo.cuts = [70_000, 140_000, 10]
    seen = []
    path = download(url(zenodo), tmp_path / "to", lambda there, total: seen.append((there, total)))
    assert path.read_bytes() == ZIP
    assert [wanted for _, wanted in zenodo.asked] == [None, "bytes=65536-", "bytes=196608-", "bytes=196608-"]
    assert seen[-1] == (len(ZIP), len(ZIP))
    assert [file.name for file in (tmp_path / "to").iterdir()] == ["KidneyCT.zip"]


def test_one_that_breaks_again_and_again_keeps_what_came_for_the_next_run(zenodo, tmp_path):
    zenodo.cuts = [2 * downloading.PIECE + 1] + [0] * downloading.ATTEMPTS
    with pytest.raises(ModelError, match=r"the connection broke after 0\.1 of 0\.6 MB .*run the same command again"):
        download(url(zenodo), tmp_path)
    zenodo.cuts, zenodo.asked = [], []
    assert download(url(zenodo), tmp_path).read_bytes() == ZIP
    assert zenodo.asked == [("/files/KidneyCT.zip", "bytes=131072-")]


def test_a_file_that_changed_meanwhile_and_a_server_without_ranges_begin_anew(zenodo, tmp_path):
    zenodo.cuts = [100_000]
    zenodo.ranges = False
    assert download(url(zenodo), tmp_path / "a").read_bytes() == ZIP
    zenodo.ranges = True
    zenodo.cuts = [2 * downloading.PIECE + 1] + [0] * downloading.ATTEMPTS
    with pytest.raises(ModelError, match="broke"):
        download(url(zenodo), tmp_path / "b")
    other = zipped(model_files(weights=checkpoint(seed=1)))
    zenodo.files["KidneyCT.zip"], zenodo.version, zenodo.cuts = other, 2, []
    assert download(url(zenodo), tmp_path / "b").read_bytes() == other


def test_a_busy_server_is_asked_again_and_a_refusal_is_told(zenodo, tmp_path):
    zenodo.fails = [503, 429]
    assert download(url(zenodo), tmp_path).read_bytes() == ZIP
    with pytest.raises(ModelError, match="the server answers 404 Not Found"):
        download(url(zenodo, "none.zip"), tmp_path)


def test_wrong_bytes_are_found_by_the_checksum_and_thrown_away(zenodo, tmp_path):
    remote = find_remote(Source(doi="10.5281/zenodo.1"))
    wrong = bytearray(ZIP)
    wrong[1000] ^= 1
    zenodo.files["KidneyCT.zip"] = bytes(wrong)
    with pytest.raises(ModelError, match=r"the md5 of what came is \w+, not \w+.*It is deleted"):
        download(remote, tmp_path)
    assert list(tmp_path.iterdir()) == []
    zenodo.files["KidneyCT.zip"] = ZIP
    assert download(remote, tmp_path).read_bytes() == ZIP


def test_a_wrong_checksum_in_the_record_installs_nothing(zenodo):
    zenodo.checksums["KidneyCT.zip"] = "md5:" + "0" * 32
    with pytest.raises(ModelError, match="md5 of what came"):
        install(find_offer(DOI), anything)
    assert installed("KidneyCT") is None


def test_another_size_than_is_known_is_refused_before_it_is_received(zenodo, tmp_path):
    remote = find_remote(Source(url=f"{zenodo.address}/files/KidneyCT.zip", bytes=5))
    with pytest.raises(ModelError, match=rf"has {len(ZIP)} bytes, but 5 are known"):
        download(remote, tmp_path)


@pytest.mark.parametrize(("kind", "content"), [("text/html", b"<html>"), ("application/zip", b"<html>please log in")])
def test_a_page_in_place_of_the_zip_is_told(zenodo, tmp_path, kind, content):
    zenodo.files["KidneyCT.zip"], zenodo.types["KidneyCT.zip"] = content, kind
    with pytest.raises(ModelError, match=r"a page or another file \(.*\) came in place of a zip: .*models import ZIP"):
        download(url(zenodo), tmp_path)


def test_without_space_nothing_is_begun(zenodo, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=200_000_000))
    with pytest.raises(ModelError, match=r"has 0\.20 GB free, but KidneyCT\.zip needs 0\.20 GB"):
        download(url(zenodo), tmp_path)
    assert [file for file in tmp_path.iterdir() if file.suffix == ".part"] == []


def test_no_network_is_one_line(zenodo, monkeypatch, tmp_path):
    def fails(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(pooch.downloaders, "doi_to_url", fails)
    with pytest.raises(ModelError, match=r"cannot be asked for its files .*models import ZIP"):
        find_offer(DOI)
    with pytest.raises(ModelError, match=r"nothing came \(ConnectionError\)\. Connect to the network"):
        download(find_remote(Source(url="http://127.0.0.1:9/x.zip")), tmp_path)


@pytest.mark.parametrize(
    ("typed", "source"),
    [
        ("doi:10.5281/zenodo.1", Source(doi="10.5281/zenodo.1")),
        ("https://doi.org/10.5281/zenodo.1", Source(doi="10.5281/zenodo.1")),
        ("10.5281/zenodo.1", Source(doi="10.5281/zenodo.1")),
        ("https://x.org/a.zip", Source(url="https://x.org/a.zip")),
        ("renal-net", None),
        ("/tmp/a.zip", None),
    ],
)
def test_what_is_typed_is_known_by_its_form(typed, source):
    assert source_of(typed) == source


def test_the_command_asks_for_the_licence_installs_and_is_offline_the_second_time(zenodo, capsys, tmp_path):
    assert main(["models", "download", DOI]) == 2
    told = capsys.readouterr()
    assert "licence: cc-by-4.0" in told.out
    assert "Doe, J." in told.out
    assert "its licence was not accepted (cc-by-4.0). Read it, and pass --accept-licence." in told.err
    assert main(["models", "download", DOI, "--accept-licence", "--name", "kidneys"]) == 0
    capsys.readouterr()
    zenodo.asked.clear()
    assert main(["models", "download", "kidneys"]) == 0
    assert main(["models", "path", "kidneys"]) == 0
    place = tmp_path / "models" / "kidneys"
    assert capsys.readouterr().out.splitlines()[-1] == str(place / MODEL)
    assert (place / MODEL / "fold_1" / "checkpoint_best.pth").read_bytes() == WEIGHTS
    assert zenodo.asked == []
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [".downloads", "kidneys"]
    assert list((tmp_path / "models" / ".downloads").iterdir()) == []
