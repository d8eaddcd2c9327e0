"""Is the page what Prometheus reads, and do the series of what is gone leave it?"""

from __future__ import annotations

import http.client
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from remuda.scheduler.meter import Histogram
from remuda.scheduler.metrics_page import FRESH_NS, NEVER, Page
from remuda.scheduler.metrics_process import Server
from remuda.scheduler.metrics_table import BY_NAME, LONG_S, OF_FLEET, PREFIX

NOW_NS = 1_000 * 1_000_000_000
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(page: Page, now_ns: int = NOW_NS) -> Samples:
    """Read the page as Prometheus does."""
    found: Samples = {}
    for family in text_string_to_metric_families(page.text(now_ns).decode()):
        assert family.documentation, family.name
        for each in family.samples:
            key = each.name, tuple(sorted(each.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = each.value
    return found


def told(stuck: str = "", refusing: str = "", **rows: Any) -> list[Any]:
    return ["snapshot", NOW_NS, stuck, refusing, rows]


def fleet(*nodes: str, is_first: bool = True, is_last: bool = True) -> list[Any]:
    rows = {
        "nodes": [[["ready"], 1] for _ in nodes],
        "node_up": [[[name], 1] for name in nodes],
        "gpu_temperature_celsius": [[[name, f"GPU-{name}"], 60] for name in nodes],
    }
    return ["fleet", is_first, is_last, rows]


def up(page: Page) -> set[str]:
    return {dict(labels)["node"] for name, labels in samples(page) if name == "remuda_node_up"}


def test_counters_gauges_and_histograms_are_read_as_they_were_told() -> None:
    page, waits = Page(), Histogram(LONG_S)
    for seconds in (0.005, 0.5, 1e6):
        waits.observe(seconds)
    kind = 'a "kind"\nof \\ task'
    page.hear(
        told(
            tasks=[[["queued"], 3]],
            tasks_submitted_total=[[[kind], 7]],
            task_wait_seconds=[[[kind], waits.counts, waits.sum]],
        )
    )
    found = samples(page)
    labels = (("kind", kind),)
    assert 3 == found["remuda_tasks", (("state", "queued"),)]
    assert 7 == found["remuda_tasks_submitted_total", labels]
    assert (3, 1_000_000.505) == (
        found["remuda_task_wait_seconds_count", labels],
        found["remuda_task_wait_seconds_sum", labels],
    )
    buckets = {
        dict(key)["le"]: value
        for (name, key), value in found.items()
        if name == "remuda_task_wait_seconds_bucket"
    }
    assert (1, 2, 2, 3) == tuple(buckets[le] for le in ("0.01", "1.0", "86400.0", "+Inf"))


def test_nodes_that_are_told_of_no_more_leave_with_their_gpus() -> None:
    page = Page()
    page.hear(fleet("a", "b", is_last=False))
    assert set() == up(page)
    page.hear(fleet("c", is_first=False))
    assert {"a", "b", "c"} == up(page)
    assert 3 == samples(page)["remuda_nodes", (("state", "ready"),)]
    page.hear(fleet("b"))
    assert {"b"} == up(page)
    assert "GPU-a" not in page.text(NOW_NS).decode()


def test_a_round_that_broke_off_leaves_the_one_before() -> None:
    page = Page()
    page.hear(fleet("a"))
    page.hear(fleet("b", is_last=False))
    assert {"a"} == up(page)
    page.hear(fleet("c"))
    assert {"c"} == up(page)


def test_it_is_live_while_news_come_and_ready_while_work_is_taken() -> None:
    page = Page()
    assert (NEVER, NEVER) == (page.why_not_live(NOW_NS), page.why_not_ready(NOW_NS))
    page.hear(told())
    assert ("", "") == (page.why_not_live(NOW_NS), page.why_not_ready(NOW_NS))
    later = NOW_NS + FRESH_NS + 1
    assert "its loop has not turned for 10 s" == page.why_not_live(later)
    assert 0 == samples(page, later)["remuda_live", ()]
    page.hear(told(refusing="the disk is low"))
    assert ("", "the disk is low") == (page.why_not_live(NOW_NS), page.why_not_ready(NOW_NS))
    page.hear(told(stuck="a commit: not for 12.0 s"))
    assert "a commit: not for 12.0 s" == page.why_not_ready(NOW_NS)
    assert (0, 0) == tuple(samples(page)[f"remuda_{name}", ()] for name in ("live", "ready"))


def test_a_family_of_a_newer_scheduler_is_left_out() -> None:
    page = Page()
    page.hear(told(of_tomorrow=[[[], 1]], epoch=[[[], 4]]))
    assert 4 == samples(page)["remuda_epoch", ()]


def test_the_process_of_the_scheduler_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    found = {name for name, _ in samples(Page(os.getpid()))}
    assert "remuda_scheduler_process_resident_memory_bytes" in found


def test_names_are_as_prometheus_wants_them() -> None:
    assert len(BY_NAME) >= len(OF_FLEET)
    for family in BY_NAME.values():
        assert (family.kind == "counter") == family.name.endswith("_total"), family.name
        assert (family.kind == "histogram") == bool(family.bounds), family.name
        assert not family.name.startswith(PREFIX)


def test_the_documentation_names_every_metric_and_no_other() -> None:
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `remuda_(\w+)` \|", page, re.MULTILINE))
    assert BY_NAME.keys() == named


def test_health_does_not_wait_for_a_page_that_is_being_written() -> None:
    page = Page()
    page.hear(["snapshot", time.monotonic_ns(), "", "", {}])
    server = Server(("127.0.0.1", 0), page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with server.writing:
            connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
            connection.request("GET", "/livez")
            assert (200, b"ok\n") == ((got := connection.getresponse()).status, got.read())
            connection.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
