"""What daemons log: one bounded, redacted line per event that nobody can forge."""

import io
import json
import logging
import warnings
from datetime import datetime, timedelta

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from remuda.config.log_once import LogOnce
from remuda.config.logs import (
    DEPTH_MAX,
    ITEMS_MAX,
    KEYS_MAX,
    TRACEBACK_BYTES_MAX,
    bounded,
    configure_logs,
    cut_text,
    get_logger,
)
from remuda.config.settings import LoggingSettings


@pytest.fixture(autouse=True)
def _logging_is_put_back():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def start(stream: io.StringIO | None = None, **settings) -> io.StringIO:
    out = io.StringIO() if stream is None else stream
    configure_logs(LoggingSettings(**settings), daemon="scheduler", stream=out)
    return out


def lines(out: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def fail(text: str) -> None:
    raise ValueError(text)


def error_with(text: str) -> ValueError | None:
    try:
        fail(text)
    except ValueError as error:
        return error
    return None


def test_a_line_says_when_how_important_who_and_what_first():
    out = start()
    get_logger(node="n1").info("node registered", gpus=2)
    line = lines(out)[0]
    assert ["at", "level", "daemon", "event", "node", "gpus"] == list(line)
    assert ("info", "scheduler", "node registered", "n1", 2) == tuple(list(line.values())[1:])


def test_times_are_iso_and_utc():
    out = start()
    get_logger().info("started")
    at = datetime.fromisoformat(lines(out)[0]["at"])
    assert timedelta(0) == at.utcoffset()


def test_lines_below_the_level_are_left_out():
    out = start(level="warning")
    get_logger().info("quiet")
    logging.getLogger("library").info("quiet")
    get_logger().warning("loud")
    assert ["loud"] == [line["event"] for line in lines(out)]


def test_the_standard_logging_takes_the_same_way():
    out = start()
    logging.getLogger("library").warning("lost %s", "peer", extra={"password": "hunter2"})
    line = lines(out)[0]
    assert ("lost peer", "scheduler", "[redacted]") == (
        line["event"],
        line["daemon"],
        line["password"],
    )


def test_warnings_are_logged():
    out = start()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("this is old", DeprecationWarning, stacklevel=1)
    logging.captureWarnings(capture=False)
    assert "this is old" in lines(out)[0]["event"]


def test_configuring_again_replaces_what_was_before():
    first = start()
    second = start()
    get_logger().info("once")
    assert ("", 1) == (first.getvalue(), len(lines(second)))


@pytest.mark.parametrize(
    "key",
    ["secret", "secret_key", "password", "passwd", "token", "authorization", "api_key", "env"],
)
def test_values_of_keys_that_look_secret_are_redacted_at_any_depth(key):
    out = start()
    get_logger().info("x", **{key: "hunter2"}, spec={"inner": [{key: {"a": "hunter2"}}]})
    assert "hunter2" not in out.getvalue()
    assert "[redacted]" == lines(out)[0][key]


@pytest.mark.parametrize("key", ["public_key", "key", "environment", "event_id", "envelope"])
def test_values_of_harmless_keys_are_kept(key):
    out = start()
    get_logger().info("x", **{key: "kept"})
    assert "kept" == lines(out)[0][key]


def test_a_long_value_is_cut_and_its_size_told():
    out = start(value_bytes_max=64)
    get_logger().info("x", text="a" * 1000)
    assert "a" * 64 + "... (1000 bytes)" == lines(out)[0]["text"]


def test_a_line_has_a_bounded_number_of_keys():
    out = start()
    get_logger().info("x", **{f"k{number}": number for number in range(500)})
    line = lines(out)[0]
    assert KEYS_MAX + 1 >= len(line)
    assert line["keys_cut"] > 400


def test_a_traceback_is_kept_and_bounded():
    out = start()
    get_logger().error("failed", exc_info=error_with("x" * 100_000))
    exception = lines(out)[0]["exception"]
    assert exception.startswith("Traceback (most recent call last)")
    assert TRACEBACK_BYTES_MAX + 100 > len(exception)


NESTED = st.recursive(
    st.one_of(st.text(), st.binary(), st.integers(), st.none(), st.floats(), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=50), st.dictionaries(st.text(), inner, max_size=50)
    ),
)


@given(NESTED)
def test_any_value_becomes_one_line_of_json(value):
    out = start(value_bytes_max=64)
    get_logger().info("x", value=value)
    assert 1 == out.getvalue().count("\n")
    assert "x" == lines(out)[0]["event"]


def test_a_deep_and_wide_value_is_bounded():
    deep: list = []
    for _ in range(50):
        deep = [deep] * 50
    assert (ITEMS_MAX + 1) ** DEPTH_MAX * 100 > len(json.dumps(bounded(deep, 16)))


def test_an_object_whose_text_fails_is_still_logged():
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    out = start()
    get_logger().info("x", value=Broken())
    assert "<Broken: its text failed with RuntimeError>" == lines(out)[0]["value"]


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("<3 bytes>", b"abc"),
        (1 << 63, 1 << 63),
        ("<int of 9001 bits>", 1 << 9000),
        ([*[0] * 32, "... 8 more"], [0] * 40),
        ({"a": ["b"]}, {"a": ("b",)}),
        (True, True),
        (None, None),
    ],
)
def test_a_value_is_cut_by_its_kind(expected, value):
    assert expected == bounded(value, 2048)


@given(st.text(), st.integers(64, 200))
def test_a_cut_text_fits_and_its_beginning_is_kept(text, bytes_max):
    cut = cut_text(text, bytes_max)
    assert len(cut.encode()) <= bytes_max + len("... (99999 bytes)")
    assert text.startswith(cut.split("... (")[0]) or text == cut


def test_on_a_terminal_lines_are_for_people():
    out = start(Terminal())
    get_logger().info("started", port=7700)
    assert "{" not in out.getvalue()
    assert "7700" in out.getvalue()


def test_off_a_terminal_lines_are_json():
    out = start()
    get_logger().info("started", port=7700)
    assert 7700 == lines(out)[0]["port"]


@pytest.mark.parametrize(("form", "is_json"), [("json", True), ("human", False)])
def test_the_form_can_be_chosen(form, is_json):
    out = start(Terminal() if is_json else io.StringIO(), format=form)
    get_logger().info("started")
    assert is_json == out.getvalue().startswith("{")


@pytest.mark.parametrize("evil", ["a\nb", "a\rb", "\x1b[2J", "\u202e", "\x9b", "\u2028"])
def test_no_value_can_forge_a_line_or_drive_a_terminal(evil):
    out = start(format="human")
    get_logger().warning(f"event {evil}", text=evil, items=[evil])
    logging.getLogger("library").warning(evil)
    assert 2 == len(out.getvalue().splitlines())
    assert evil not in out.getvalue()


def test_a_traceback_for_people_keeps_its_lines_and_drives_no_terminal():
    out = start(format="human")
    get_logger().error("failed", exc_info=error_with("\x1b[2J"))
    assert "\nValueError: \\x1b[2J" in out.getvalue()


def test_without_a_stream_lines_go_to_stderr(capsys):
    configure_logs(LoggingSettings(), daemon="node", stream=None)
    get_logger().info("started")
    logging.getLogger().handlers[0].flush()
    captured = capsys.readouterr()
    assert ("", "started") == (captured.out, json.loads(captured.err)["event"])


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_same_thing_is_logged_once(clock):
    once = LogOnce(clock_s=clock)
    assert [0, None, None] == [once.should_log("peer") for _ in range(3)]


def test_the_next_line_tells_how_many_were_silent(clock):
    once = LogOnce(clock_s=clock, again_s=60)
    found = [once.should_log("peer") for _ in range(3)]
    clock.now_s = 60
    assert [0, None, None, 2, None] == [*found, once.should_log("peer"), once.should_log("peer")]


def test_different_things_are_logged_each(clock):
    once = LogOnce(clock_s=clock)
    assert [0, 0] == [once.should_log("a"), once.should_log("b")]


def test_a_stranger_with_ever_new_keys_gets_a_bounded_number_of_lines(clock):
    once = LogOnce(clock_s=clock, lines_max=10)
    logged = sum(once.should_log(number) is not None for number in range(10_000))
    assert (10, 9_990) == (logged, once.silenced)


def test_lines_flow_again_after_a_while(clock):
    once = LogOnce(clock_s=clock, lines_max=1, again_s=60)
    found = [once.should_log("a"), once.should_log("b")]
    clock.now_s = 60
    assert [0, None, 0] == [*found, once.should_log("b")]


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 10)), max_size=300))
def test_memory_is_bounded_and_every_event_is_counted(events):
    clock = Clock()
    once = LogOnce(clock_s=clock, keys_max=5, lines_max=7, again_s=20)
    logged = 0
    for key, pause_s in events:
        clock.now_s += pause_s
        logged += once.should_log(key) is not None
    assert len(events) == logged + once.silenced
    assert len(once._seen) <= 5
