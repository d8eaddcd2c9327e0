"""Which runner works for whom: so that a process on a card can be told to be of an attempt."""

from __future__ import annotations

from .stage import Stage
from .usage import Owner


def owners(stage: Stage) -> dict[int, Owner]:
    """Return for whom each runner works, by its pid."""
    state = stage.state
    found = {}
    for seat in stage.crew.seats:
        if not seat.pid:
            continue
        attempt = state.attempts.get(seat.command) if seat.command else None
        lane = state.lanes.by_id.get(seat.lane)
        if lane is None:
            found[seat.pid] = Owner(attempt.seq if attempt else None, attempt)
        elif lane.resident:
            found[seat.pid] = Owner(lane.resident)
        elif lane.open:
            found[seat.pid] = Owner(lane.id, next(iter(lane.open.values())))
        else:
            ended = [each.holder for each in state.releases.values() if each.lane == lane.id]
            found[seat.pid] = Owner(ended[0] if ended else None)
    return found
