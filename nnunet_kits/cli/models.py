"""The verb ``models``: published weights, downloaded, verified and kept; models imported and exported."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_kits.cli import output
from nnunet_kits.cli.lines import add_options
from nnunet_kits.cli.output import Result
from nnunet_kits.model_folder import FINAL

if TYPE_CHECKING:
    from nnunet_kits.models.install import Check, Offer
    from nnunet_kits.models.places import Installed

logger = logging.getLogger(__name__)


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``models`` and what it does."""
    models = verbs.add_parser(
        "models",
        help="download published weights, import and export models",
        description="Published nnU-Net weights by name, DOI, address or zip: downloaded where they were cut, verified, "
        "unpacked without trust, and known to predict by their names. Others' weights have others' licences.",
    )
    what = models.add_subparsers(title="what to do; without it: list", metavar="WHAT")
    _add(what, "list", _list, "list the models of the catalogue, and those that are installed")
    download = _add(what, "download", _download, "download and install a model")
    download.add_argument(
        "model", metavar="MODEL", help="a name of the catalogue, doi:10.5281/zenodo.N, or https://...zip"
    )
    download.add_argument("--name", help="name it otherwise")
    download.add_argument(
        "--accept-licence", action="store_true", help="you have read the licence that is shown, and keep to it"
    )
    _add_trust(download)
    show = _add(what, "show", _show, "show what is known of a model: licence, citation, labels, use")
    show.add_argument("model", metavar="MODEL", help="a name")
    path = _add(what, "path", _path, "print the folder of an installed model")
    path.add_argument("model", metavar="MODEL", help="a name")
    imported = _add(what, "import", _import, "install a zip or folder that is on this machine")
    imported.add_argument("source", type=Path, metavar="ZIP|FOLDER", help="nnU-Net's zip, or a model's folder")
    imported.add_argument("--name", help="name it; by default as the zip or folder")
    _add_trust(imported)
    export = _add(what, "export", _export, "write model folders into a zip that nnU-Net installs, with a manifest")
    export.add_argument("folders", type=Path, nargs="+", metavar="MODEL", help="model folder; several of one dataset")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="ZIP", help="the zip")
    export.add_argument("--folds", nargs="+", metavar="FOLD", help="default: every fold that has the checkpoint")
    export.add_argument("--checkpoint", default=FINAL, metavar="FILE", help="default: %(default)s")
    export.add_argument("--title", help="for people")
    export.add_argument("--licence", help="default: that of the dataset")
    export.add_argument("--citation", default="", help="what users shall cite")
    export.add_argument("--recipe", help="by which it was trained")
    models.set_defaults(run=run)


def _add(what: Any, name: str, do: Any, told: str) -> argparse.ArgumentParser:
    """One thing to do; the common options stand after it as well as before."""
    sub: argparse.ArgumentParser = what.add_parser(
        name, help=told, description=f"{told[0].upper()}{told[1:]}.", argument_default=argparse.SUPPRESS
    )
    output.add_option(sub)
    add_options(sub)
    sub.set_defaults(do=do)
    return sub


def _add_trust(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--trust",
        action="store_true",
        help="install checkpoints that hold code, too; predict refuses them without --trust",
    )


def _check(options: argparse.Namespace) -> "Check":
    """Checkpoints that hold more than data are refused, unless they are trusted."""
    if getattr(options, "trust", False):
        return lambda path: None
    from nnunet_kits.training.checkpoint_data import refuse_code

    return refuse_code


def run(options: argparse.Namespace) -> Result:
    """Do what is asked; without it, list."""
    found: Result = getattr(options, "do", _list)(options)
    return found


def _list(options: argparse.Namespace) -> Result:
    from nnunet_kits.models.catalogue import entry_names, load_entry
    from nnunet_kits.models.places import installed, installed_names, models_folder

    found: dict[str, dict[str, Any]] = {}
    for name in entry_names():
        entry = load_entry(name)
        state = "not usable" if entry.refused else "not installed"
        found[name] = {"state": state, "role": entry.role, "summary": entry.summary}
    for name in installed_names():
        one = installed(name)
        assert one is not None  # it was just found
        found[name] = {"role": "", "summary": one.title, **found.get(name, {}), "state": "installed"}
    for name, told in found.items():
        print(f"{name:22} {told['state']:14} {told['role']:7} {told['summary']}")
    print(f"installed in {models_folder()}")
    return Result({"folder": models_folder(), "models": found})


def _download(options: argparse.Namespace) -> Result:
    from nnunet_kits.errors import ModelError
    from nnunet_kits.models.install import find_offer, install
    from nnunet_kits.models.places import installed

    name = getattr(options, "name", None)
    there = installed(name or options.model)
    if there is not None:
        logger.info(f"{there.name} is installed in {there.place}.")
        return Result(_told(there))
    offer = find_offer(options.model, name)
    _show_offer(offer)
    if not getattr(options, "accept_licence", False) and not _accepts(offer):
        raise ModelError(
            f"{offer.name}: its licence was not accepted ({offer.licence}). Read it, and pass --accept-licence."
        )
    from tqdm import tqdm

    with tqdm(desc=offer.name, unit="B", unit_scale=True, disable=None, leave=False) as bar:

        def progress(there: int, total: int | None) -> None:
            bar.total = total
            bar.update(there - bar.n)

        made = install(offer, _check(options), progress)
    return _say_installed(made)


def _show_offer(offer: "Offer") -> None:
    logger.info(f"{offer.title}, from {offer.remote.origin} ({offer.remote.name})")
    logger.info(f"  licence: {offer.licence}")
    logger.info(f"  cite:    {offer.citation or 'not stated'}")
    logger.info(f"  use:     {offer.intended_use}")
    if offer.remote.checksum is None:
        logger.info("  checksum: none is stated, so that only its size is compared, where that is known")
    for doubt in offer.entry.unverified if offer.entry else ():
        logger.info(f"  not verified: {doubt}")


def _accepts(offer: "Offer") -> bool:
    """Ask, where somebody is there to answer."""
    if not sys.stdin.isatty():
        return False
    print(f"Do you accept the licence of {offer.title} ({offer.licence})? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say_installed(made: "Installed") -> Result:
    for folder in made.paths:
        logger.info(folder)
    logger.info(f"Installed. Predict with: nnunet_kits predict --fine {made.name} ... or --coarse {made.name}")
    return Result(_told(made))


def _show(options: argparse.Namespace) -> Result:
    from nnunet_kits.errors import ModelError
    from nnunet_kits.models.catalogue import entry_names, load_entry
    from nnunet_kits.models.places import installed

    name, entry = options.model, None
    made = installed(name)
    if name in entry_names():
        entry = load_entry(name)
    if made is None and entry is None:
        raise ModelError(f"there is no model {name!r}. List them: nnunet_kits models list.")
    told = {} if entry is None else entry.model_dump(exclude_none=True, mode="json")
    if entry is not None:
        told["licence"] = ". ".join(part for part in (entry.licence.name, entry.licence.note) if part)
    told |= (
        {} if made is None else {key: value for key, value in _told(made).items() if value not in (None, "", [], {})}
    )
    for key, value in told.items():
        if key not in ("files", "sha256") and value:
            print(f"{key + ':':16}{_line(value)}")
    return Result(told)


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _path(options: argparse.Namespace) -> Result:
    from nnunet_kits.errors import ModelError
    from nnunet_kits.models.places import installed, installed_names

    made = installed(options.model)
    if made is None:
        raise ModelError(
            f"{options.model}: is not installed. Installed: {', '.join(installed_names()) or 'none'}. Install it with "
            f"nnunet_kits models download {options.model}."
        )
    for folder in made.paths:
        print(folder)
    return Result({"folders": made.paths})


def _import(options: argparse.Namespace) -> Result:
    from nnunet_kits.models.install import import_model

    made = import_model(options.source, _check(options), getattr(options, "name", None))
    logger.info(f"{made.title}; licence: {made.licence}")
    return _say_installed(made)


def _export(options: argparse.Namespace) -> Result:
    from nnunet_kits.models.export import About, export_models

    title, licence, recipe = (getattr(options, key, None) for key in ("title", "licence", "recipe"))
    about = About(title=title, licence=licence, citation=options.citation, recipe=recipe)
    folds = getattr(options, "folds", None)
    manifests = export_models(options.folders, options.output, about, folds, options.checkpoint)
    logger.info(options.output)
    for folder, manifest in manifests.items():
        logger.info(f"  {folder}: {len(manifest['files'])} files; licence: {manifest['licence'] or 'not stated'}")
    logger.info(f"Next: nnUNetv2_install_pretrained_model_from_zip {options.output}")
    return Result({"zip": options.output, "models": manifests})


def _told(made: "Installed") -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(made), "folders": made.paths, "place": made.place}
