"""What does the configuration declare of handlers, as the core takes it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..config.settings_node import HandlerSettings
from .handler_orders import Declared


def declared_of(handlers: Mapping[str, HandlerSettings]) -> dict[str, Declared]:
    """Read `[handlers]` of the scheduler's configuration.

    Nodes are told what differs from the defaults: one of an older version can read the rest.
    """
    return {
        name: Declared(
            each.selector,
            each.model_dump(mode="json", exclude_defaults=True, exclude={"nodes"}),
            replace(each.stated(name), source="scheduler"),
        )
        for name, each in handlers.items()
    }
