"""Which tests may be skipped where everything else must run (CI): a skip with any other reason fails the run."""

import os
import re

ALLOWED = {
    r"(zsh|fish|PowerShell) is not installed": "shells that no package index has",
    r"dciodvfy is not installed": "a tool that no package index has; .ci/run installs it where it may",
    r"nnU-Net's own Dice sums in float32": "a combination in which the oracle itself is not exact",
    r"nnU-Net's own adds up the regions": "a combination in which the oracle itself differs",
    r"needs the real label maps|no real label maps|needs the challenges' label maps|no published predictions": (
        "the challenges' data are not ours to ship"
    ),
}
"""What the reason of a skip must hold -> why such a test may be left out."""


class SkipGuard:
    """Collects the reasons of skips, and fails a run in which one of them is not allowed."""

    def __init__(self) -> None:
        self.unexpected: dict[str, str] = {}

    def pytest_runtest_logreport(self, report):
        """Note a skipped test."""
        self.note(report)

    def pytest_collectreport(self, report):
        """Note a skipped module."""
        self.note(report)

    def note(self, report):
        """Keep the reason of a skip that is not allowed."""
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            if not any(re.search(pattern, reason) for pattern in ALLOWED):
                self.unexpected[report.nodeid] = reason

    def pytest_sessionfinish(self, session):
        """The run fails although no test did."""
        if self.unexpected and not hasattr(session.config, "workerinput"):
            session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter):
        """Say which, and what to do."""
        for test, reason in self.unexpected.items():
            terminalreporter.write_line(f"NOT ALLOWED TO BE SKIPPED HERE: {test}: {reason}")
        if self.unexpected:
            terminalreporter.write_line(
                "Install what is missing, or say in tests/allowed_skips.py why it may be missing."
            )


def everything_must_run() -> bool:
    """Whether this is a run in which nothing may be skipped without a reason that is allowed."""
    return os.environ.get("CI", "") not in ("", "0", "false")
