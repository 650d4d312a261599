# PYTHON_ARGCOMPLETE_OK
"""The ``nnunet_kits`` command: the verbs along the straight line from a KiTS folder to a report."""

import argparse
import importlib
import os
import sys
from contextlib import nullcontext

from nnunet_kits import __version__
from nnunet_kits.cli import output
from nnunet_kits.cli.lines import add_options, shown
from nnunet_kits.environment import waiting
from nnunet_kits.errors import KitsError

VERBS = (
    "env",
    "doctor",
    "phantom",
    "convert",
    "derive",
    "plan",
    "preprocess",
    "trainers",
    "recipes",
    "run",
    "cascade",
    "status",
    "models",
    "series",
    "segment",
    "predict",
    "restore",
    "postprocess",
    "evaluate",
    "rank",
    "compare",
    "measure",
    "dicom",
    "report",
    "demo",
)
"""Modules of :mod:`nnunet_kits.cli`, in the order of the help page. Each has ``add_verb(subparsers)``."""


def parser() -> argparse.ArgumentParser:
    """The whole command line. Verbs import what they need when they run, so that help stays fast."""
    root = argparse.ArgumentParser(
        prog="nnunet_kits",
        description="Kidney, tumour and cyst segmentation in CT with unmodified nnU-Net v2.",
    )
    root.add_argument("--version", action="version", version=f"nnunet_kits {__version__}")
    verbs = root.add_subparsers(title="verbs", metavar="VERB")
    for name in VERBS:
        importlib.import_module(f"nnunet_kits.cli.{name}").add_verb(verbs)
        output.add_option(verbs.choices[name])
        add_options(verbs.choices[name])
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run one verb.

    Returns:
        0 when it did its work, 1 when it found something wrong (``doctor``), 2 on bad input, without a verb, or
        where the system refuses a file; 130 when interrupted, 141 when nobody reads its output any more.
    """
    output.print_anything()
    root = parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what may come next
        from nnunet_kits.cli.completion import complete

        complete(root)
    options = root.parse_args(arguments)
    if not hasattr(options, "run"):
        root.print_help(sys.stderr)
        return 2
    os.environ.update(waiting(os.environ))  # before torch is imported, and for what is started from here
    try:
        with output.kept_for_json() if options.json else nullcontext(), shown(options):
            result: output.Result = options.run(options)
        with output.printing():
            if options.json:
                print(output.as_json(result.data))
        return result.code
    except KitsError as error:
        output.complain(f"nnunet_kits: error: {error}")
        return 2
    except KeyboardInterrupt:
        output.complain("nnunet_kits: interrupted; run the same command again to go on.")
        return 130
    except BrokenPipeError:
        output.let_go()
        output.complain("nnunet_kits: nobody reads the output any more; run the same command again to go on.")
        return 141
    except RuntimeError as error:
        if not str(error).startswith("Symlink loop"):  # so pathlib tells it before Python 3.13
            raise
        output.complain(f"nnunet_kits: error: {error}: these links lead to no file. Name what they should.")
        return 2
    except OSError as error:
        output.let_go()
        reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
        output.complain(f"nnunet_kits: error: {reason}. What was finished is kept.")
        return 2


if __name__ == "__main__":
    sys.exit(main())
