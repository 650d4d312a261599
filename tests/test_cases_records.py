"""What is kept of a run, so that one that was stopped goes on."""

import json
import os

import pytest

from nnunet_kits.cases.records import Journal, Record, file_key, open_record, read_record, stamp
from nnunet_kits.errors import InferenceError


def test_a_journal_survives_a_kill_in_the_middle_of_a_line(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.add("a", [1])
    with (tmp_path / "j").open("a") as file:
        file.write('["b", [')
    again = Journal(tmp_path / "j")
    assert again.results == {"a": [1]}
    again.add("b", [2])
    assert Journal(tmp_path / "j").results == {"a": [1], "b": [2]}
    again.close()
    assert not (tmp_path / "j").exists()


@pytest.mark.parametrize("line", ["null", "3", '["b"]', '[["b"], 1]', '{"b": 1, "c": 2}', "\xff", '["b", 1, 2]'])
def test_lines_of_a_journal_that_are_no_results_are_passed_over(tmp_path, line):
    (tmp_path / "j").write_bytes(b'["a", [1]]\n' + line.encode("latin-1") + b'\n["c", [3]]\n')
    assert Journal(tmp_path / "j").results == {"a": [1], "c": [3]}


def test_a_stamp_changes_with_a_files_size_and_time(tmp_path):
    file = tmp_path / "a"
    assert stamp(file) == [-1, -1]
    file.write_text("one")
    os.utime(file, ns=(5, 7))
    assert stamp(file) == [3, 7]
    assert file_key(file, tmp_path / "b") == [[str(file), 3, 7], [str(tmp_path / "b"), -1, -1]]


def test_a_record_is_written_with_every_case_and_read_again(tmp_path):
    record = Record(tmp_path / "r.json", {"made_with": [1]})
    record.add("a", {"seconds": 2})
    assert (tmp_path / "r.json").read_text() == json.dumps({"made_with": [1], "cases": {"a": {"seconds": 2}}}, indent=2)
    assert read_record(tmp_path / "r.json") == {"made_with": [1], "cases": {"a": {"seconds": 2}}}


def test_what_is_no_record_is_none(tmp_path):
    assert read_record(tmp_path / "none.json") is None
    for text in ("[1]", '{"cut', "\xff"):
        (tmp_path / "r.json").write_bytes(text.encode("latin-1"))
        assert read_record(tmp_path / "r.json") is None


def test_a_run_goes_on_with_its_record_and_not_with_one_of_other_settings_or_one_that_cannot_be_read(tmp_path):
    def differs(before):
        return None if before["step"] == 1 else f"label maps of step {before['step']}"

    file = tmp_path / "r.json"
    open_record(file, {"step": 1}, differs, InferenceError).add("a", "done")
    assert open_record(file, {"step": 1}, differs, InferenceError).cases == {"a": "done"}
    Record(file, {"step": 2}).save()
    with pytest.raises(InferenceError, match=r"holds label maps of step 2\. Give another folder, or --overwrite"):
        open_record(file, {"step": 1}, differs, InferenceError)
    file.write_text('{"step": 1, "ca')
    with pytest.raises(InferenceError, match=r"r\.json: the folder holds a record that cannot be read"):
        open_record(file, {"step": 1}, differs, InferenceError)
    assert file.read_text() == '{"step": 1, "ca'
    assert open_record(file, {"step": 1}, differs, InferenceError, overwrite=True).cases == {}
    assert read_record(file) == {"step": 1, "cases": {}}


@pytest.mark.parametrize("cases", [None, 7, [1], "case_00001", float("inf")])
def test_a_record_whose_cases_are_none_cannot_be_read(tmp_path, cases):
    (tmp_path / "r.json").write_text(json.dumps({"cases": cases}))
    with pytest.raises(InferenceError, match=r"r\.json: the folder holds a record that cannot be read"):
        open_record(tmp_path / "r.json", {}, lambda before: None, InferenceError)
