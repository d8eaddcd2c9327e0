"""For how long do changes of the configuration wait until they are confirmed?"""

import pytest

from remuda.cli.config_confirming import Waiting
from remuda.client.configuring import CONFIRM_S
from remuda.protocol.errors import Invalid


def test_a_time_that_is_none_is_refused_before_anything_changes() -> None:
    with pytest.raises(Invalid, match="--wait"):
        Waiting(wait="soon")


@pytest.mark.parametrize(("said", "seconds"), [("", CONFIRM_S), ("0s", 0.0), ("2m", 120.0)])
def test_a_change_waits_as_long_as_is_said(said: str, seconds: float) -> None:
    assert seconds == Waiting(wait=said).timeout_s()
