"""Are options read, and times, spans, bars and rows written, as documented?"""

import datetime as dt
from pathlib import Path

import pytest

from remuda.cli import dealing, ports, status, views
from remuda.cli.dealing import Host
from remuda.cli.refs import tags
from remuda.cli.setup_home import toml
from remuda.cli.task_options import TaskOptions, arguments, array, duration_s, moment
from remuda.cli.writing import age, bar, counted, id_text, one_line, rfc3339, span
from remuda.client.options import to_spec
from remuda.protocol import ids
from remuda.protocol.errors import Invalid, RemudaError


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("0-3", [0, 1, 2, 3]),
        ("7", [7]),
        ("1,5,8-10", [1, 5, 8, 9, 10]),
        ("0-10:5", [0, 5, 10]),
    ],
)
def test_an_array_is_read(text, indices) -> None:
    assert indices == array(text)


@pytest.mark.parametrize(
    "text", ["", "a", "3-1", "0-9%5", "1,1", "0-9:0", "-1", "0-9999999999", "1,,2"]
)
def test_an_array_that_is_none_is_refused(text) -> None:
    with pytest.raises(Invalid, match="--array"):
        array(text)


def test_arguments_are_text_or_json() -> None:
    given = ["in.png", "radius:=3", ":=[1, 2]", "url=http://x", 'flags:={"a": true}', "a-b:=1"]
    positional, keywords = arguments(given)
    assert ["in.png", [1, 2], "url=http://x", "a-b:=1"] == positional
    assert {"radius": 3, "flags": {"a": True}} == keywords


@pytest.mark.parametrize("given", [["x:=nope"], ["x:=1", "x:=2"]])
def test_bad_arguments_are_refused(given) -> None:
    with pytest.raises(Invalid, match="--arg"):
        arguments(given)


def test_only_the_options_that_were_given_reach_the_client() -> None:
    options = TaskOptions(vram="12GiB", env=["A=b=c"], retries="3", stdin=Path("f"))
    expected = {"vram": "12GiB", "env": {"A": "b=c"}, "retries": 3, "stdin": Path("f")}
    assert expected == options.given()


def test_the_options_of_a_tasks_life_reach_the_client_by_its_names() -> None:
    options = TaskOptions(
        start_timeout="1m", silence="10m", deadline="2h", expires="1h", if_node_lost="fence",
        when_full="wait=10m", retry_on=["network,timeout", "exit_code"], never_on=["disk"],
    )  # fmt: skip
    expected = {
        "start_timeout": "1m",
        "silence": "10m",
        "deadline": "2h",
        "expires": "1h",
        "if_node_lost": "fence",
        "when_full": "wait=10m",
        "retry_on": ["network", "timeout", "exit_code"],
        "never_on": ["disk"],
    }
    assert expected == options.given()
    to_spec("command", options.given(), argv=["true"])


def test_a_time_of_day_is_the_next_time_that_our_clocks_show_so() -> None:
    now = dt.datetime.now().astimezone()
    for hour in range(24):
        found = moment(f"{hour}:30")
        assert isinstance(found, dt.datetime)
        assert (hour, 30) == (found.hour, found.minute)
        assert now < found <= now + dt.timedelta(hours=25)


@pytest.mark.parametrize("text", ["", "2h", "2026-01-31T18:00:00Z"])
def test_other_moments_are_left_to_the_client(text) -> None:
    assert text == moment(text)


def test_how_old_a_thing_is_needs_a_unit_where_that_removes_it() -> None:
    assert (7200.0, 0.0) == tuple(duration_s("older", text, bare=False) for text in ("2h", "0"))
    with pytest.raises(Invalid, match=r"--older: found '30', a number without a unit.*30d"):
        duration_s("older", "30", bare=False)


@pytest.mark.parametrize("text", ["25:00", "18:75"])
def test_a_time_of_day_that_there_is_not_is_refused(text) -> None:
    with pytest.raises(Invalid, match=f"--deadline {text}"):
        moment(text)


@pytest.mark.parametrize("bad", [{"env": ["A"]}, {"retries": "many"}, {"tag": ["=x"]}])
def test_a_bad_option_is_refused_by_its_name(bad) -> None:
    with pytest.raises(Invalid, match=f"--{next(iter(bad))}"):
        TaskOptions(**bad).given()


def test_tags_are_read() -> None:
    assert {"team": "a", "x": ""} == tags(["team=a", "x="])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.254, "0.25s"), (9.5, "9.5s"), (59.4, "59s"), (60, "1m"), (200, "3m 20s"),
     (7260, "2h 1m"), (90000, "1d 1h"), (-1, "0s")],
)  # fmt: skip
def test_a_span_has_two_units_at_most(seconds, text) -> None:
    assert text == span(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "now"), (12, "12s"), (180, "3m"), (7300, "2h"), (864000, "10d")]
)
def test_an_age_has_one_unit(seconds, text) -> None:
    assert text == age(seconds)


def test_a_time_is_rfc_3339_in_utc() -> None:
    assert "2026-01-02T03:04:05.006Z" == rfc3339(1767323045006)
    assert rfc3339(0) is None


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 4, "····"), (4, 4, "████"), (2, 4, "██··"), (9, 4, "████"), (0.001, 4, "▏···"),
     (1, 0, "····")],
)  # fmt: skip
def test_a_bar_shows_a_share(part, whole, text) -> None:
    assert text == bar(part, whole, 4)


def test_numbers_are_counted_with_their_noun() -> None:
    assert ["1 task", "12,431 tasks", "2 copies"] == [
        counted(1, "task"),
        counted(12431, "task"),
        counted(2, "copy", "copies"),
    ]


def test_what_a_task_printed_cannot_steer_the_terminal() -> None:
    assert "a [31mb c" == one_line("a\x1b[31mb\n\tc")
    assert 10 == len(one_line("x" * 50, 10))


def test_a_member_of_a_batch_is_named_by_its_index() -> None:
    batch = ids.new_id(1, 2)
    member = ids.to_bytes(ids.member(batch, 7))
    assert f"{ids.format_id(batch)}.7" == id_text(member, ids.to_bytes(batch))


def test_a_row_for_programs_has_stable_keys() -> None:
    row = {
        "id": ids.to_bytes(5),
        "number": 3,
        "batch": b"",
        "name": "x",
        "state": "running",
        "code": "",
        "node": "node-1",
        "attempt": 1,
        "created_ms": 1767323045006,
        "progress_milli": 400,
    }
    shown = views.task(row)
    assert [
        "id", "number", "batch", "name", "kind", "state", "code", "owner", "node", "attempt",
        "priority", "progress", "progress_text", "tags", "retry_of", "created_at", "started_at",
        "ended_at",
    ] == list(shown)  # fmt: skip
    assert (0.4, None, "2026-01-02T03:04:05.006Z") == (
        shown["progress"],
        shown["batch"],
        shown["created_at"],
    )


def test_documents_become_json_with_times_as_text() -> None:
    document = {"seen_ms": 1767323045006, "out": b"\xff", "deep": [{"ended_ms": 0}]}
    expected = {"seen_at": "2026-01-02T03:04:05.006Z", "out": "�", "deep": [{"ended_at": None}]}
    assert expected == views.plain(document)


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_a_host_is_dealt_out_whole_and_evenly(nodes) -> None:
    host = Host(cpus=16, memory_bytes=64 << 30, gpus=("a", "b", "c", "d"))
    shares = dealing.deal(host, nodes)
    assert 16 == sum(share.cpus for share in shares)
    assert sorted(host.gpus) == sorted(gpu for share in shares for gpu in share.gpus)
    assert max(s.cpus for s in shares) - min(s.cpus for s in shares) <= 1
    assert sum(share.memory_bytes for share in shares) <= host.memory_bytes


def test_every_node_gets_a_cpu_even_where_there_are_too_few() -> None:
    shares = dealing.deal(Host(cpus=2, memory_bytes=1 << 30, gpus=()), 4)
    assert [1, 1, 1, 1] == [share.cpus for share in shares]


def test_a_probe_that_fails_says_what_to_run() -> None:
    with pytest.raises(RemudaError, match="remuda-node --probe"):
        dealing.probe_host(("false",))


def test_a_taken_port_is_not_offered() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not ports.are_free("127.0.0.1", [taken.getsockname()[1]])


def test_a_chosen_port_leaves_room_for_those_that_follow() -> None:
    import random

    port = ports.free_control_port("127.0.0.1", 2, random.Random(7))
    assert ports.are_free("127.0.0.1", ports.needed_ports(port, 2))


def test_what_up_writes_is_toml_whatever_a_path_holds() -> None:
    import tomllib

    tables = {"node": {"name": "n", "gpus": [], "cpus": 2}, "tasks.env": {"PATH": 'a"b\\c\x7f é'}}
    assert {
        "node": {"name": "n", "gpus": [], "cpus": 2},
        "tasks": {"env": {"PATH": 'a"b\\c\x7f é'}},
    } == tomllib.loads(toml(tables))


@pytest.mark.parametrize(
    ("rows", "grade", "texts"),
    [
        ([{"name": "a", "state": "ready"}], 0, []),
        (
            [{"name": "a", "state": "ready"}, {"name": "b", "state": "lost"}],
            1,
            ["node b is lost: its tasks run elsewhere"],
        ),
        (
            [{"name": "a", "state": "lost"}],
            2,
            ["no node is ready, 3 queued", "node a is lost: its tasks run elsewhere"],
        ),
        (
            [
                {"name": "a", "state": "ready"},
                {"name": "b", "state": "draining", "running": 2, "drain": {"reason": "disk"}},
            ],
            1,
            ["node b is draining (2 tasks left): disk"],
        ),
        (
            [{"name": "a", "state": "ready"}, {"name": "b", "state": "lost", "running": 2}],
            1,
            [
                "node b is lost: 2 of its tasks stay there until known to be over, "
                "the others run elsewhere"
            ],
        ),
        ([], 2, ["no node is ready, 3 queued"]),
    ],
)
def test_a_cluster_is_graded_for_monitoring(rows, grade, texts) -> None:
    assert (grade, texts) == status.problems({"counts": {"queued": 3}}, rows)
