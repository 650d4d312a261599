"""The catalogue, installed models, imports and exports."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from small_zips import LABELS, MODEL, WEIGHTS, anything, checkpoint, model_files, zipped

from nnunet_kits.cli.main import main
from nnunet_kits.errors import ModelError
from nnunet_kits.model_folder import ModelFolder
from nnunet_kits.models import install as installing
from nnunet_kits.models.catalogue import ENTRIES_FOLDER, entry_names, load_entry
from nnunet_kits.models.install import MANIFEST, find_offer, import_model, install
from nnunet_kits.models.places import installed, installed_names, installed_with, models_folder
from nnunet_kits.models.sources import Remote


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    monkeypatch.setenv("NNUNET_KITS_MODELS", str(tmp_path / "models"))


def written(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.mark.parametrize("name", entry_names())
def test_every_entry_says_where_it_is_from_and_how_it_may_be_used(name):
    entry = load_entry(name)
    assert (entry.source.doi is None) != (entry.source.url is None)
    assert entry.citation
    assert entry.licence.name or entry.licence.note
    assert entry.refused or ModelFolder.named(Path(), Path(str(entry.folder)).name)
    assert set(entry.coarse_labels) <= set(entry.labels)
    assert bool(entry.coarse_labels) == (entry.role == "coarse")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"licens": {}}, r"licens: unknown key\. Allowed: title"),
        ({"orientation": "XYZ"}, r"orientation is 'XYZ'"),
        ({"source": {"size": 3}}, r"source\.size: unknown key"),
    ],
)
def test_a_wrong_entry_is_one_line(tmp_path, change, message):
    content = json.loads((ENTRIES_FOLDER / "renal-net.json").read_text())
    (tmp_path / "x.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(ModelError, match=message):
        load_entry(str(tmp_path / "x.json"))


def test_a_model_of_nnunet_v1_and_an_unknown_name_are_refused_without_network():
    with pytest.raises(ModelError, match=r"bamf-kidney: is a model of nnU-Net v1.*docker run"):
        find_offer("bamf-kidney")
    with pytest.raises(ModelError, match=r"there is no model 'renalnet'\. Known: bamf-kidney, renal-net, total"):
        find_offer("renalnet")


def catalogued(monkeypatch, tmp_path, name, files):
    """Install an entry of the catalogue from a zip that is there."""
    (tmp_path / "its.zip").write_bytes(zipped(files))
    remote = Remote("https://x.org/its.zip", "its.zip", "doi:10.5281/zenodo.15315330", licence="cc-by-nc-sa-4.0")
    monkeypatch.setattr(installing, "find_remote", lambda source: remote)
    monkeypatch.setattr(installing, "download", lambda *_: (tmp_path / "its.zip").rename(tmp_path / "came.zip"))
    return install(find_offer(name), anything)


def test_what_the_catalogue_knows_stands_beside_the_model(monkeypatch, tmp_path):
    made = catalogued(monkeypatch, tmp_path, "renal-net", model_files())
    assert installed("renal-net") == made
    assert (made.checkpoint, made.orientation, made.postprocessing) == ("checkpoint_best.pth", "LPS", "renal_net")
    assert made.licence.startswith("cc-by-nc-sa-4.0. As its record states it")
    assert installed_with(made.paths[0]) == made
    assert installed_with(tmp_path / "elsewhere" / "x" / "a__b__c") is None


def test_what_a_killed_installation_left_is_no_model_and_goes_with_the_next(monkeypatch, tmp_path):
    left = models_folder() / ".renal-net.999999999.part"
    written(left, {"model.json": b"{}"})
    assert installed_names() == []
    catalogued(monkeypatch, tmp_path, "renal-net", model_files())
    assert [path.name for path in models_folder().iterdir()] == ["renal-net"]


def test_another_model_in_the_catalogues_zip_is_refused(monkeypatch, tmp_path):
    with pytest.raises(ModelError, match="which the catalogue names"):
        catalogued(monkeypatch, tmp_path, "totalsegmentator-3mm", model_files())
    assert installed("totalsegmentator-3mm") is None


@pytest.mark.parametrize("given", [MODEL, MODEL.split("/")[0], "."])
def test_a_folder_is_imported_from_any_height(tmp_path, given):
    root = written(tmp_path / "results", model_files())
    made = import_model(root / given, anything, "mine")
    assert made.folders == [MODEL]
    assert (made.paths[0] / "fold_0" / "checkpoint_best.pth").read_bytes() == WEIGHTS
    assert made.licence == "not stated: ask whoever published it"


def test_a_link_in_a_folder_is_refused(tmp_path):
    root = written(tmp_path / "results", model_files())
    (root / MODEL / "fold_1" / "more.txt").symlink_to("/etc/passwd")
    with pytest.raises(ModelError, match=r"more\.txt: is a link"):
        import_model(root / MODEL, anything, "mine")
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "", "a" * 65, "x.zip"])
def test_names_that_could_not_be_folders_are_refused(tmp_path, name):
    with pytest.raises(ModelError, match=r"cannot name a model|is not there"):
        import_model(tmp_path if name else tmp_path / "none", anything, name)


def test_a_damaged_record_is_one_line(monkeypatch, tmp_path):
    made = catalogued(monkeypatch, tmp_path, "renal-net", model_files())
    (made.place / "model.json").write_text("{")
    with pytest.raises(ModelError, match=r"model\.json: is damaged"):
        installed("renal-net")


def test_an_export_is_installed_by_nnunets_own_command_and_by_ours(tmp_path, capsys):
    results = written(
        tmp_path / "results",
        {
            **model_files(checkpoint="checkpoint_final.pth"),
            f"{MODEL}/evaluation/metrics.json": json.dumps({"mean": {"Dice": {"kidney": 0.9}}}).encode(),
            f"{MODEL}/fold_0/validation/summary.json": b"{}",
            f"{MODEL}/fold_0/validation/case_1.nii.gz": b"not exported",
        },
    )
    archive = tmp_path / "out" / "mine.zip"
    told = ("--title", "Mine", "--licence", "CC-BY-4.0", "--recipe", "kits23_x")
    assert main(["models", "export", str(results / MODEL), "-o", str(archive), *told, "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)["models"][MODEL]
    assert (manifest["title"], manifest["recipe"], manifest["scores"]) == (
        "Mine",
        "kits23_x",
        {"Dice": {"kidney": 0.9}},
    )
    assert "not for diagnosis" in manifest["intended_use"]
    assert manifest["versions"]["nnunetv2"].startswith("2.8")
    assert manifest["labels"] == LABELS
    names = {"plans.json", "dataset.json", "fold_0/validation/summary.json"}
    assert set(manifest["files"]) == names | {f"fold_{fold}/checkpoint_final.pth" for fold in (0, 1)}

    stock = tmp_path / "stock"
    stock.mkdir()
    command = [str(Path(sys.executable).with_name("nnUNetv2_install_pretrained_model_from_zip")), str(archive)]
    environment = {**os.environ, "nnUNet_results": str(stock)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    there = {path.relative_to(stock / MODEL).as_posix() for path in (stock / MODEL).rglob("*") if path.is_file()}
    assert there == {*manifest["files"], MANIFEST}

    assert main(["models", "import", str(archive)]) == 0
    made = installed("mine")
    assert (made.title, made.licence, made.checkpoint) == ("Mine", "CC-BY-4.0", "checkpoint_final.pth")
    capsys.readouterr()
    assert main(["models", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"]["mine"]["state"] == "installed"
    assert main(["models", "show", "mine"]) == 0
    assert "CC-BY-4.0" in capsys.readouterr().out


def test_files_that_are_not_those_of_the_manifest_are_refused(tmp_path):
    results = written(tmp_path / "results", model_files())
    assert (
        main(
            [
                "models",
                "export",
                str(results / MODEL),
                "-o",
                str(tmp_path / "a.zip"),
                "--checkpoint",
                "checkpoint_best.pth",
            ]
        )
        == 0
    )
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = f"{MODEL}/fold_1/checkpoint_best.pth"
    (tmp_path / "b.zip").write_bytes(zipped({**files, name: b"others"}))
    with pytest.raises(ModelError, match=r"fold_1/checkpoint_best\.pth: is not the file that is told of in manifest"):
        import_model(tmp_path / "b.zip", anything)
    files.pop(name)
    (tmp_path / "c.zip").write_bytes(zipped(files))
    with pytest.raises(ModelError, match=r"fold_1/checkpoint_best\.pth: is missing, but stands in manifest"):
        import_model(tmp_path / "c.zip", anything)


class Bomb:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_a_malicious_pickle_is_not_installed_and_does_not_run(tmp_path, capsys):
    bomb = model_files(weights=checkpoint(Bomb(tmp_path / "marker")))
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped(bomb))
    assert main(["models", "import", str(archive)]) == 2
    told = capsys.readouterr().err
    assert f"{MODEL}/fold_0/checkpoint_best.pth: holds more than tensors" in told
    assert "posix.mkdir" in told or "nt.mkdir" in told
    assert installed("a") is None
    assert main(["models", "import", str(archive), "--trust"]) == 0
    assert installed("a") is not None
    assert not (tmp_path / "marker").exists()


def test_an_export_without_what_it_needs_is_one_line(tmp_path, capsys):
    results = written(tmp_path / "results", model_files())
    for options, message in (
        ([str(results / MODEL)], "no checkpoint_final.pth in fold 0 to 4; folds with one: none"),
        (
            [str(results / MODEL), "--folds", "3", "--checkpoint", "checkpoint_best.pth"],
            "in fold 3; folds with one: 0, 1",
        ),
        ([str(results)], "is no trained model"),
    ):
        assert main(["models", "export", *options, "-o", str(tmp_path / "a.zip")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a.zip").exists()
