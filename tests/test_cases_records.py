"""What is kept of a run, so that one that was stopped goes on."""

import json
import os

from nnunet_kits.cases.records import Journal, Record, file_key, read_record, stamp


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
