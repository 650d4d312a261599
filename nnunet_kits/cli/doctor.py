"""The verb ``doctor``: what is wrong with this machine, and what to do."""

import argparse

from nnunet_kits import __version__
from nnunet_kits.cli.output import Result


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``doctor``."""
    doctor = verbs.add_parser(
        "doctor",
        help="check this machine: versions, folders, GPU, and that nnU-Net finds our trainers",
        description="Check this machine. Exit code 1 if a check failed; each failure says what to do.",
    )
    doctor.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Run every check and print the findings."""
    from nnunet_kits import doctor

    checks = doctor.run_checks()
    print(doctor.as_table(checks))
    good = all(check.status != "fail" for check in checks)
    return Result({"nnunet_kits": __version__, "ok": good, "checks": checks}, int(not good))
