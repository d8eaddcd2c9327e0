"""Do options in the words of Python and of the command line become the right TaskSpec?"""

import datetime as dt
import time
from pathlib import Path

import pytest

from remuda.client.moments import parse_past_ms
from remuda.client.options import Retry, moves_on, said_of, to_changes, to_spec
from remuda.client.when_full import FOR_EVER_S, patience_of
from remuda.protocol.errors import Invalid, NotFound
from remuda.protocol.spec import to_document


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"vram": "6GiB"}, {"vram_bytes": 6 << 30}),
        ({"gpus": 2, "vram": "1G"}, {"gpus": 2, "vram_bytes": 1 << 30}),
        ({"gpus": 0.5}, {"gpu_milli": 500}),
        ({"gpus": "1"}, {"gpus": 1}),
        ({"cpus": "0.25"}, {"cpus_milli": 250}),
        ({"memory": 4096}, {"memory_bytes": 4096}),
        ({"node": "a"}, {"nodes": ["a"]}),
        ({"nodes": ["a", "b"]}, {"nodes": ["a", "b"]}),
        ({"node_labels": {"disk": "ssd"}}, {"labels": {"disk": "ssd"}}),
        ({"labels": ["disk=ssd"]}, {"labels": {"disk": "ssd"}}),
        ({"timeout": "2m"}, {"timeout_ms": 120_000}),
        ({"timeout": 1.5}, {"timeout_ms": 1_500}),
        ({"retries": "3", "backoff": "2s..1m"},
         {"retries": 3, "backoff_first_ms": 2_000, "backoff_longest_ms": 60_000}),
        ({"retry": Retry(2, "3s")},
         {"retries": 2, "backoff_first_ms": 3_000, "backoff_longest_ms": 3_000}),
        ({"retry": Retry(1, on=["network", "exit_code"], never_on=("memory",))},
         {"retries": 1, "retry_on": ["network", "exit_code"], "never_on": ["memory"]}),
        ({"retry_on": "timeout", "never_on": ["gpu_memory"]},
         {"retry_on": ["timeout"], "never_on": ["gpu_memory"]}),
        ({"if_node_lost": "fence"}, {"if_node_lost": "fence"}),
        ({"start_timeout": "5m", "silence": "10m", "expires": "1h"},
         {"start_timeout_ms": 300_000, "silence_ms": 600_000, "expires_ms": 3_600_000}),
        ({"deadline": "2096-01-31T18:00:00Z"}, {"deadline_ms": 3_978_871_200_000}),
        ({"deadline": "2096-01-31 20:00:00+02:00"}, {"deadline_ms": 3_978_871_200_000}),
        ({"deadline": dt.datetime(2096, 1, 31, 18, tzinfo=dt.UTC)},
         {"deadline_ms": 3_978_871_200_000}),
        ({"when_full": "wait=10m"}, {}),
        ({"env": {"A": 1}}, {"env": {"A": "1"}}),
        ({"stdin": "text"}, {"stdin": b"text"}),
        ({"cwd": Path("/data")}, {"cwd": "/data"}),
        ({"priority": 80, "name": "x", "tags": {"team": "a"}},
         {"priority": 80, "name": "x", "tags": {"team": "a"}}),
        ({"vram": None, "once": "key", "allow_infeasible": True}, {}),
        ({"vram": "auto", "size": "width*height", "kind": "paint"},
         {"vram": "auto", "size": "width*height", "learn_as": "paint"}),
        ({"vram": "2GiB + 24B*width"}, {"vram": "2GiB + 24B*width"}),
        ({"vram": "2GiB + 512MiB"}, {"vram_bytes": 5 << 29}),
        ({"gpus": 1, "gpu_cc": 8.6}, {"gpus": 1, "gpu_cc": 86}),
        ({"gpus": 1, "gpu_cc": "8.0"}, {"gpus": 1, "gpu_cc": 80}),
        ({"not_node": "a", "exclusive": True, "model": "sdxl"},
         {"not_nodes": ["a"], "exclusive": True, "model": "sdxl"}),
        ({"resources": {"licence": 2}}, {"resources": {"licence": 2}}),
        ({"resource": ["licence=2", "seat=1"]}, {"resources": {"licence": 2, "seat": 1}}),
        ({"or": "gpus=2,gpu-type=L4"}, {"alternatives": [{"gpus": 2, "gpu_type": "L4"}]}),
        ({"or": ["vram=12GiB,resource=a=1,resource=b=2", "gpus=0"]},
         {"alternatives": [{"vram_bytes": 12 << 30, "resources": {"a": 1, "b": 2}}, {}]}),
        ({"alternatives": [{"gpus": 0.5}, {"cpus": 8, "memory": "1GiB", "node_label": "x=y"}]},
         {"alternatives": [{"gpu_milli": 500},
                           {"cpus_milli": 8000, "memory_bytes": 1 << 30, "labels": {"x": "y"}}]}),
    ],
)  # fmt: skip
def test_each_option_sets_its_field(options: dict[str, object], fields: dict[str, object]) -> None:
    assert {"kind": "function", **fields} == to_document(to_spec("function", options))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"vram": "six"}, "vram"),
        ({"memory": -1}, "memory"),
        ({"gpus": 1.5}, "gpus"),
        ({"gpus": True}, "gpus"),
        ({"gpus": 0.5, "vram": "1G"}, "gpus"),
        ({"priority": 101}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"timeout": "soon"}, "timeout"),
        ({"backoff": "5m..1s"}, "backoff"),
        ({"vram": "12"}, "vram"),
        ({"env": ["NAME"]}, "env"),
        ({"gpu_type": "H100"}, "gpu_type"),
        ({"name": "x" * 200}, "name"),
        ({"name": "a\tb"}, "name"),
        ({"nodes": 7}, "nodes"),
        ({"cwd": "~nobody-of-that-name/x"}, "cwd"),
        ({"if_node_lost": "keep"}, "if_node_lost"),
        ({"retry": Retry(on=["exit_cod"])}, "retry"),
        ({"never_on": 7}, "never_on"),
        ({"silence": "quiet"}, "silence"),
        ({"deadline": "soon"}, "deadline"),
        ({"deadline": "0s"}, "deadline"),
        ({"deadline": "2001-01-31T18:00:00Z"}, "deadline"),
        ({"deadline": "2096-01-31T18:00:00"}, "deadline"),
        ({"deadline": [1]}, "deadline"),
        ({"when_full": "hope"}, "when_full"),
        ({"when_full": "wait=soon"}, "when_full"),
        ({"vram": "2GiB +"}, "vram"),
        ({"vram": "auto", "gpus": 2}, "vram"),
        ({"size": True}, "size"),
        ({"gpu_cc": "8.05", "gpus": 1}, "gpu_cc"),
        ({"exclusive": "perhaps"}, "exclusive"),
        ({"resource": "licence=0"}, "resource"),
        ({"resources": {"licence": "many"}}, "resources"),
        ({"or": "gpus"}, "or"),
        ({"or": "colour=red"}, "or"),
        ({"or": "gpus=1,gpus=2"}, "or"),
        ({"or": "vram=auto"}, "or"),
        ({"alternatives": [{"gpu_type": "L4"}]}, "alternatives"),
        ({"alternatives": [7]}, "alternatives"),
    ],
)
def test_a_bad_value_is_invalid_and_names_its_option(
    options: dict[str, object], field: str
) -> None:
    with pytest.raises(Invalid, match=field) as caught:
        to_spec("function", options)
    assert field == caught.value.field


def test_an_unknown_option_is_a_type_error_that_names_the_nearest() -> None:
    with pytest.raises(
        TypeError, match="'priorty' is not an option of a task: did you mean 'priority'"
    ):
        to_spec("function", {"priorty": 3})


def test_a_path_for_stdin_is_read_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"abc")
    assert b"abc" == to_spec("command", {"stdin": path}).stdin
    with pytest.raises(NotFound):
        to_spec("command", {"stdin": tmp_path / "missing"})


@pytest.mark.parametrize("given", [".", Path(), "deeper/..", "~/work"])
def test_a_working_directory_is_meant_as_the_caller_sees_it(
    given: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    (work / "deeper").mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path))
    cwd = to_spec("command", {"cwd": given}).cwd
    assert (True, work) == (cwd.startswith("/"), Path(cwd).resolve())


@pytest.mark.parametrize("given", ["2h", 7200, dt.timedelta(hours=2)])
def test_a_deadline_may_be_a_duration_from_now(given: object) -> None:
    before_ms = time.time() * 1000
    deadline_ms = to_spec("function", {"deadline": given}).deadline_ms
    assert before_ms - 1 <= deadline_ms - 7_200_000 <= time.time() * 1000 + 1


def test_what_is_known_of_an_alternative_can_be_typed_so() -> None:
    with pytest.raises(Invalid) as caught:
        to_spec("command", {"or": ["qqqq=1"]}, argv=["true"])
    words = str(caught.value).partition("known are ")[2].split(", ")
    values = {"vram": "1GiB", "gpu-type": "L4,gpus=1", "gpu-cc": "8.0,gpus=1", "memory": "1GiB",
              "label": "a=b", "resource": "a=1", "node": "n"}  # fmt: skip
    assert "gpu-type" in words
    for word in words:
        typed = f"{word}={values.get(word, '1')}"
        assert to_spec("command", {"or": [typed]}, argv=["true"]).request.others


def test_a_number_alone_is_no_moment_of_the_command_line() -> None:
    with pytest.raises(Invalid, match=r"deadline: found '2020', a number without a unit.*2020s"):
        to_spec("function", {"deadline": "2020"})
    with pytest.raises(Invalid, match=r"until: found '2020', a number without a unit.*2020s"):
        parse_past_ms("until", "2020")


@pytest.mark.parametrize(
    ("options", "moves"),
    [({"deadline": "2h"}, True), ({"deadline": "2096-01-31T18:00:00Z"}, False), ({}, False)],
)
def test_only_a_deadline_from_now_moves_on_with_the_clock(
    options: dict[str, object], moves: bool
) -> None:
    assert moves == moves_on(options)


@pytest.mark.parametrize(
    ("given", "patience_s"),
    [("fail", 0.0), ("wait", FOR_EVER_S), ("wait=10m", 600.0), ("wait=90", 90.0), (None, 7.0)],
)
def test_when_full_says_how_long_to_wait(given: object, patience_s: float) -> None:
    assert patience_s == patience_of({"when_full": given}, 7.0)


def test_an_unknown_failure_is_refused_with_the_nearest_known() -> None:
    with pytest.raises(Invalid, match="did you mean 'exit_code'"):
        to_spec("function", {"retry": Retry(on=["exit_cod"])})


def test_what_a_cluster_may_have_a_default_for_travels_although_it_is_ours() -> None:
    options = {"grace": "5s", "retry": Retry(2), "backoff": None}
    document = to_document(to_spec("command", options, argv=["true"]), said_of(options))
    assert (5_000, 1_000, 300_000) == tuple(
        document[name] for name in ("grace_ms", "backoff_first_ms", "backoff_longest_ms")
    )
    assert "grace_ms" not in to_document(to_spec("command", {}, argv=["true"]), said_of({}))


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"vram": "24GiB"}, {"vram": "", "vram_bytes": 24 << 30}),
        ({"gpus": "0.5"}, {"gpus": 0, "gpu_milli": 500}),
        ({"or": []}, {"alternatives": []}),
        ({"gpu_type": "", "exclusive": "false"}, {"gpu_type": "", "exclusive": False}),
    ],
)
def test_a_change_says_also_what_is_no_longer_so(
    options: dict[str, object], fields: dict[str, object]
) -> None:
    assert fields == to_changes(options)


@pytest.mark.parametrize("name", ["once", "files", "when_full", "secrets"])
def test_what_belongs_to_a_submission_cannot_change(name: str) -> None:
    with pytest.raises(Invalid, match="belongs to a submission"):
        to_changes({name: "x"})
