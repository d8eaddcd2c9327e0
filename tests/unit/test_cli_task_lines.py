"""Is each line of a file of tasks read as the command line would, or named with key and remedy?"""

import json

import pytest

from remuda.cli import task_lines
from remuda.cli.task_lines import TaskLines, read_task
from remuda.protocol.errors import Invalid, NotFound

OK = {"command": ["echo", "hi"]}


def lines(tmp_path, *rows, **common):
    path = tmp_path / "tasks.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return TaskLines(str(path), common)


def specs(read):
    return [row.spec for row in read.rows(None)]  # nothing is brought along


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ({"command": ["echo", "a b", "3"]}, ["echo", "a b", "3"]),
        ({"cmd": "echo hi > out"}, ["sh", "-c", "echo hi > out"]),
    ],
)
def test_a_command_is_a_list_of_words_or_text_for_the_shell(tmp_path, command, argv):
    assert [argv] == [spec["argv"] for spec in specs(lines(tmp_path, command))]


def test_keys_are_the_names_of_the_options_in_either_spelling(tmp_path):
    row = {
        **OK, "vram": "6GiB", "retries": 3, "cpus": 0.5, "node-label": {"zone": "x"},
        "if_node_lost": "fail", "tag": ["team=a"], "env": {"N": 1}, "node": "gpu-1", "name": None,
    }  # fmt: skip
    (spec,) = specs(lines(tmp_path, row))
    assert {
        "kind": "command", "argv": ["echo", "hi"], "vram_bytes": 6 << 30, "retries": 3,
        "cpus_milli": 500, "labels": {"zone": "x"}, "if_node_lost": "fail",
        "tags": {"team": "a"}, "env": {"N": "1"}, "nodes": ["gpu-1"],
    } == spec  # fmt: skip


def test_alternatives_and_named_things_are_texts_or_objects(tmp_path):
    wanted = {"vram": "12GiB", "resource": {"licence": 2}, "exclusive": True}
    texts = {**OK, **wanted, "or": ["gpus=2,gpu-type=L4", "gpus=0"]}
    objects = {**OK, **wanted, "or": [{"gpus": 2, "gpu-type": "L4"}, {}]}
    first, second = specs(lines(tmp_path, texts, objects))
    assert first == second
    assert [{"gpus": 2, "gpu_type": "L4"}, {}] == first["alternatives"]
    assert ({"licence": 2}, True) == (first["resources"], first["exclusive"])


def test_a_line_lays_its_options_over_those_of_the_command_line(tmp_path):
    read = lines(
        tmp_path, OK, {**OK, "retries": 5, "tag": {"b": 2}}, retries=1, tags={"a": "1", "b": "1"}
    )
    assert [(1, {"a": "1", "b": "1"}), (5, {"a": "1", "b": "2"})] == [
        (spec["retries"], spec["tags"]) for spec in specs(read)
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{nope", "it is not JSON"),
        ("[" * 50_000, "it is not JSON"),
        ("[1, 2]\n", r"found \[1, 2\], it is an object"),
        ({"command": ["echo", 3]}, "command: found .*, each a text in quotes"),
        ({}, "command: is missing: write"),
        ({"retries": 3}, "command: is missing: write"),
        ({**OK, "cmd": "x"}, "command: is given twice"),
        ({"command": []}, "command: found .., allowed is a list of words"),
        ({"cmd": " "}, "cmd: found .*, allowed is a list of words"),
        ({"command": ["a", None]}, "command: found .*, allowed is a list of words"),
        ({**OK, "vran": "1GiB"}, "vran: is not an option of a task: did you mean 'vram'"),
        ({**OK, "json": True}, "json: is not an option of a task: known are"),
        ({**OK, "after": ["@a"]}, "after: comes with a later version: leave it out"),
        ({**OK, "once": "k"}, "once: .*submit that one by itself"),
        ({**OK, "when-full": "wait"}, "when-full: .*on the command line"),
        ({**OK, "priority": 900}, "priority: found 900, allowed is 0..100"),
        ({**OK, "priority": [1]}, "priority: found .1., allowed is text or a number"),
        ({**OK, "retries": True}, "retries: found true, allowed is text or a number"),
        ({**OK, "tag": "novalue"}, "tag novalue: write it like KEY=VALUE"),
        ({**OK, "env": {"A": [1]}}, "env: found .*, allowed is a list of texts, or an object"),
        ({**OK, "node": {"a": "b"}}, "node: found .*, allowed is a list of texts$"),
        ({**OK, "stdin": "-"}, "stdin: our standard input cannot serve one of many"),
        ({**OK, "node-label": "a=b", "node_label": "a=b"}, "written in two ways"),
        ('{"command": ["x"], "name": "a", "name": "b"}', "name: is there twice"),
    ],
)
def test_a_wrong_line_is_named_with_its_key_and_what_to_do(tmp_path, line, said):
    found = lines(tmp_path, OK, "", line).check(lambda _: None)
    assert (1, 1) == (found.tasks, found.wrong_count)
    with pytest.raises(Invalid, match=rf"tasks\.jsonl, line 3: .*{said}"):
        raise Invalid(found.wrong[0])


def test_only_so_many_wrong_lines_are_told_and_all_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(task_lines, "WRONG_SHOWN_MAX", 2)
    found = lines(tmp_path, *[{}] * 5).check(lambda _: None)
    assert (2, 5) == (len(found.wrong), found.wrong_count)


def test_a_line_that_is_too_long_is_wrong_and_the_next_one_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(task_lines, "LINE_BYTES_MAX", 40)
    found = lines(tmp_path, {"command": ["x" * 200]}, OK).check(lambda _: None)
    assert (1, 1) == (found.tasks, found.wrong_count)
    assert "line 1: it has more than 40 bytes" in found.wrong[0]


def test_there_are_not_more_lines_than_so_many(tmp_path, monkeypatch):
    monkeypatch.setattr(task_lines, "LINES_MAX", 2)
    with pytest.raises(Invalid, match="more than 2 lines"):
        lines(tmp_path, OK, OK, OK).check(lambda _: None)


def test_a_task_is_found_on_its_line_again(tmp_path):
    read = lines(tmp_path, "", OK, "", OK)
    assert [2, 4, 0] == [read.line_of(index) for index in range(3)]


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(NotFound, match=r"--from: there is no file none\.jsonl"):
        TaskLines("none.jsonl", {}).check(lambda _: None)


def test_every_option_of_a_task_is_a_key_or_is_refused_for_a_reason():
    kinds = task_lines._kinds()
    assert {str, bool, list} <= set(kinds.values())
    for name in task_lines.ELSEWHERE:
        assert name in kinds
        with pytest.raises(Invalid, match=name):
            read_task(json.dumps({**OK, name: "x"}).encode())
