"""What a command prints: plain lines on standard output, less with --quiet, more on standard error with -v."""

import logging
import re

import pytest
from kits_trees import labels_of, save

from nnunet_kits.cli.main import main, parser
from nnunet_kits.measurement import measure_files


@pytest.fixture
def labels(tmp_path):
    for number in (0, 1):
        save(tmp_path / "labels" / f"case_{number:05d}.nii.gz", labels_of(number, "23"))
    return tmp_path / "labels"


def words(labels, *more):
    return ["measure", str(labels), "-o", str(labels.parent / "out"), *more]


def test_lines_are_plain_and_on_standard_output(labels, capsys):
    assert main(words(labels)) == 0
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "case_00000",
        "case_00001",
        str(labels.parent / "out" / "measures.csv"),
    ]
    assert err == ""


def test_how_far_a_run_has_come_is_told_on_standard_error(labels, capsys):
    assert main(["evaluate", str(labels), str(labels), "--year", "23", "-o", str(labels.parent)]) == 0
    out, err = capsys.readouterr()
    assert err == "1 of 2: case_00000\n2 of 2: case_00001\n"
    assert out.startswith("Dice_kidney ")


def test_quiet_leaves_warnings_and_errors(labels, capsys):
    assert main(words(labels, "--quiet")) == 0
    assert capsys.readouterr() == ("", "")
    (labels / "case_00001.nii.gz").write_bytes(b"")
    assert main(words(labels, "--quiet")) == 2
    out, err = capsys.readouterr()
    assert re.fullmatch("case_00001: failed: .*case_00001.nii.gz.*\n", out)
    assert err.startswith("nnunet_kits: error: case_00001: ")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_verbose_adds_seconds_by_case_on_standard_error(labels, capsys, workers):
    main(words(labels))
    plain = capsys.readouterr().out
    assert main(words(labels, "-v", "-np", workers)) == 0
    out, err = capsys.readouterr()
    assert sorted(out.splitlines()) == sorted(plain.splitlines())
    took = re.findall(r"^[\d-]+ [\d:,]+ nnunet_kits\.\S+: (case_\d+) took \d+\.\d\d s", err, re.MULTILINE)
    assert sorted(took) == ["case_00000", "case_00001"]


def test_without_the_command_line_nothing_is_printed_and_logging_decides(labels, capsys, caplog):
    measure_files(labels, labels.parent / "out")
    assert capsys.readouterr() == ("", "")
    caplog.set_level("INFO", "nnunet_kits.measurement")
    measure_files(labels, labels.parent / "out")
    assert [line.split(":")[0] for line in caplog.messages] == ["case_00000", "case_00001"]


def test_a_command_leaves_logging_as_it_was(labels):
    logger = logging.getLogger("nnunet_kits")
    before = logger.level, logger.propagate, list(logger.handlers)
    main(words(labels, "-v"))
    assert (logger.level, logger.propagate, logger.handlers) == before


def test_every_verb_takes_both_but_not_together(capsys):
    (verbs,) = (action.choices for action in parser()._actions if hasattr(action, "add_parser"))
    for verb in verbs.values():
        assert {"-v", "--verbose", "--quiet"} <= {name for action in verb._actions for name in action.option_strings}
    with pytest.raises(SystemExit):
        parser().parse_args(["doctor", "-v", "--quiet"])
    assert "not allowed with" in capsys.readouterr().err


def test_lines_for_the_user_leave_standard_output_to_json(capsys):
    assert main(["doctor", "--json", "--quiet"]) in (0, 1)
    assert capsys.readouterr().out.lstrip().startswith(("[", "{"))
