"""Does a line name an address that another host can dial, and say so where that is doubtful?"""

import pytest

from remuda.cli import invites
from remuda.protocol.errors import Invalid

LOCAL = "tcp://127.0.0.1:7700"


@pytest.mark.parametrize(
    ("given", "dialled", "listen", "expected"),
    [
        ("tcp://out:1", LOCAL, "0.0.0.0:7700", "tcp://out:1"),
        (None, "tcp://sched.lab:7700", "0.0.0.0:7700", "tcp://sched.lab:7700"),
        (None, "tcp://10.0.0.1:7700", "10.0.0.1:7700", "tcp://10.0.0.1:7700"),
        (None, LOCAL, "10.0.0.1:7700", "tcp://10.0.0.1:7700"),
        (None, LOCAL, "fd00::1:7700", "tcp://[fd00::1]:7700"),
    ],
)
def test_an_address_that_others_reach_goes_into_the_line(given, dialled, listen, expected) -> None:
    assert (expected, "") == invites.address(given, dialled, listen)


@pytest.mark.parametrize("listen", ["0.0.0.0:7705", ":::7705"])
def test_where_the_scheduler_listens_everywhere_the_address_of_this_host_is_guessed(
    listen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invites, "own_address", lambda: "192.168.7.7")
    chosen, doubt = invites.address(None, LOCAL, listen)
    assert "tcp://192.168.7.7:7705" == chosen
    assert "--endpoint" in doubt


def test_a_host_without_a_way_out_says_that_its_line_leads_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(invites, "own_address", lambda: None)
    chosen, doubt = invites.address(None, LOCAL, "0.0.0.0:7700")
    assert LOCAL == chosen
    assert "only this host can dial" in doubt


def test_a_scheduler_that_listens_on_loopback_makes_lines_for_its_own_host() -> None:
    chosen, doubt = invites.address(None, LOCAL, "127.0.0.1:7700")
    assert LOCAL == chosen
    assert "listens on 127.0.0.1 alone" in doubt


def test_a_bad_endpoint_is_refused() -> None:
    with pytest.raises(Invalid, match="is not an endpoint"):
        invites.address("sched:7700", LOCAL, "127.0.0.1:7700")


def test_our_own_address_is_none_that_only_we_reach() -> None:
    assert not str(invites.own_address() or "10.0.0.1").startswith("127.")
