"""Are quantities read as people write them, and requests that contradict themselves refused?"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.protocol import resources
from remuda.protocol.resources import Request

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), (512, 512), ("1K", 1024), ("1k", 1024), ("1KB", 1000), ("1KiB", 1024),
     ("12GiB", 12 * GIB), ("12G", 12 * GIB), ("12 gib", 12 * GIB), ("12GB", 12 * 10**9),
     ("1.5GiB", 3 * GIB // 2), ("80TB", 80 * 10**12), ("7b", 7), (" 1M ", 1 << 20)],
)  # fmt: skip
def test_a_size_is_read_as_people_write_it(text: str | int, size: int) -> None:
    assert size == resources.parse_bytes(text)


@pytest.mark.parametrize("text", ["", "G", "12Gi b", "-1", "1e9", "12XB", "1,5G", "12GiBs", True])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        resources.parse_bytes(text)


@pytest.mark.parametrize("text", [-1, "2000000TiB", 1 << 61])
def test_a_size_out_of_range_is_refused(text: str | int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        resources.parse_bytes(text)


@given(st.integers(0, resources.BYTES_MAX))
@settings(derandomize=True)
def test_a_written_size_reads_back_within_its_rounding(size: int) -> None:
    again = resources.parse_bytes(resources.format_bytes(size))
    assert abs(again - size) <= max(size // 18, 0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("1.5s", 1.5), ("2m", 120.0), ("1h30m", 5400.0), ("20ms", 0.02), ("1d", 86400.0),
     (3, 3.0), (0.5, 0.5), ("250us", 0.00025), ("0", 0.0), ("1H", 3600.0)],
)  # fmt: skip
def test_a_duration_is_read_as_people_write_it(text: str | float, seconds: float) -> None:
    assert pytest.approx(seconds) == resources.parse_duration_s(text)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1y", "1h30", "1e3", "1 2", "nan", "inf", True])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        resources.parse_duration_s(text)


@pytest.mark.parametrize("value", [-1, "99999d", float("nan"), float("inf")])
def test_a_duration_out_of_range_is_refused(value: str | float) -> None:
    with pytest.raises(ValueError, match="out of range"):
        resources.parse_duration_s(value)


@pytest.mark.parametrize(
    ("text", "first", "longest"), [("1s..5m", 1, 300), ("10s", 10, 10), ("0..0", 0, 0)]
)
def test_a_backoff_is_a_range_or_one_value(text: str, first: float, longest: float) -> None:
    assert (first, longest) == resources.parse_backoff(text)


def test_a_backoff_that_shrinks_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than the longest"):
        resources.parse_backoff("5m..1s")


@pytest.mark.parametrize("text", ["", "1s..", "..1s", "1s...2s", "soon"])
def test_what_is_no_backoff_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        resources.parse_backoff(text)


CONTRADICTIONS = {
    "a fraction together with vram": Request(gpu_milli=500, vram_bytes=GIB),
    "not both": Request(gpus=1, gpu_milli=500),
    r"out of range 0\.\.64": Request(gpus=65),
    "-1 is out of range": Request(gpus=-1),
    "between 0.001 and 0.999": Request(gpu_milli=1000),
    "cpus: -0.001": Request(cpus_milli=-1),
    "cpus: 100000.001": Request(cpus_milli=resources.CPUS_MILLI_MAX + 1),
    "memory and vram": Request(memory_bytes=-1),
    "memory and": Request(vram_bytes=resources.BYTES_MAX + 1),
    "none is asked for": Request(gpu_type="L4"),
    "not a regular expression": Request(gpus=1, gpu_type="("),
    "at most 256": Request(gpus=1, gpu_type="x" * 257),
}


@pytest.mark.parametrize("words", CONTRADICTIONS)
def test_a_request_that_contradicts_itself_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match=words):
        resources.check_request(CONTRADICTIONS[words])


@pytest.mark.parametrize(
    ("request_", "cards"),
    [(Request(), 0), (Request(cpus_milli=0), 0), (Request(gpus=2), 2), (Request(gpu_milli=1), 1),
     (Request(vram_bytes=1), 1), (Request(gpus=2, vram_bytes=GIB, gpu_type="A100|H100"), 2)],
)  # fmt: skip
def test_a_request_that_is_sound_passes_and_counts_its_cards(request_: Request, cards: int) -> None:
    resources.check_request(request_)
    assert cards == request_.cards


def test_a_request_reads_in_the_words_of_the_command_line() -> None:
    request = Request(
        cpus_milli=500, memory_bytes=GIB, gpus=2, vram_bytes=12 * GIB, gpu_type="L4",
        labels=(("zone", "a"),), nodes=("n1", "n2"), handler="repair",
    )  # fmt: skip
    expected = (
        "cpus=0.5 memory=1GiB gpus=2 vram=12GiB gpu-type=L4 node-label=zone=a node=n1 node=n2 "
        "handler=repair"
    )
    assert expected == resources.describe_request(request)
    assert "cpus=1 gpus=0.25" == resources.describe_request(Request(gpu_milli=250))
