"""A simulated node that loads models when it is granted a call, and lets them go when asked."""

from __future__ import annotations

from dataclasses import replace

from remuda.protocol import capabilities as wire
from remuda.protocol import messages as m

from . import models
from .world import SimNode, World


class WarmNode(SimNode):
    """It loads at once, unless `slow`: then the test says when (`loaded`); `evicted` lists what
    was let go, `loads` what was loaded."""

    def __init__(self, name: str, capabilities: wire.Capabilities, *, slow: bool = False) -> None:
        super().__init__(name, capabilities)
        self.slow = slow
        self.loads: list[tuple[str, str]] = []
        self.evicted: list[str] = []
        self.stubborn = False
        self.slow_to_leave = False

    def take(self, message: m.Message) -> None:
        before = set(self.held)
        super().take(message)
        if isinstance(message, m.Offer):
            for task, _ in self.held.keys() - before:
                found = models.wanted(self, task, "loading" if self.slow else "ready")
                if found is not None:
                    self.loads.append((found.model, found.gpu_uuid))
                    self.residents.append(found)

    def let_go(self, message: m.Evict) -> None:
        if self.slow_to_leave:
            self.residents = [replace(each, state="leaving") for each in self.residents]
        elif not self.stubborn:
            self.evicted += [each.model for each in models.evict(self, message)]

    def living(self) -> list[int]:
        return models.living(self)

    def loaded(self) -> None:
        """Have everything loaded that loads."""
        self.residents = [replace(each, state="ready") for each in self.residents]

    def used(self, model: str, idle_ms: int) -> None:
        """Set when a model was called last."""
        self.residents = [
            replace(each, idle_ms=idle_ms) if each.model == model else each
            for each in self.residents
        ]


def join(world: World, name: str, *gpus: wire.Gpu, cpus: float = 8, **handler: object) -> WarmNode:
    """Register a node with one handler, `draw`, of three models of 10 GiB, loaded on demand."""
    fields = {
        "models": ["a", "b", "c"], "workers": 4, "vram_bytes": 10 << 30, "on_demand": True,
        **handler,
    }  # fmt: skip
    known = wire.Capabilities(
        round(cpus * 1000), 64 << 30, list(gpus), [wire.Handler("draw", **fields)]  # type: ignore[arg-type]  # fields by name
    )  # fmt: skip
    node = WarmNode(name, known)
    world.nodes[name] = node
    world.join(node)
    return node


def call(world: World, model: str = "", count: int = 1, **fields: object) -> list[int]:
    """Submit calls of that handler."""
    return world.submit(count, kind="handler", target="draw", argv=[], model=model, **fields)
