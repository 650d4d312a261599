"""The verb ``doctor``: what is wrong with this machine, and what to do."""

import argparse


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``doctor``."""
    doctor = verbs.add_parser(
        "doctor",
        help="check this machine: versions, folders, GPU, and that nnU-Net finds our trainers",
        description="Check this machine. Exit code 1 if a check failed; each failure says what to do.",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON instead of a table")
    doctor.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run every check and print the findings."""
    from nnunet_kits import doctor

    checks = doctor.run_checks()
    print(doctor.as_json(checks) if options.json else doctor.as_table(checks))
    return int(any(check.status == "fail" for check in checks))
