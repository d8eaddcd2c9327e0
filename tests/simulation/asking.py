"""How a request of the plan becomes messages of a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remuda.protocol import messages as m

from .plan import QUICK, Ask
from .scenery import BACKOFF_MS, CALL, GRACE_MS, HANDLER, PRESSING, SHAPES

if TYPE_CHECKING:
    from .world import World


def carry_out(world: World, ask: Ask) -> None:
    """Have a client ask."""
    if ask.verb in _ON_NODES:
        operate(world, ask.verb, ask.node, ask.count)
        return
    client = world.clients[ask.client]
    if ask.verb == "cancel":
        if client.tasks:
            first = ask.shape % len(client.tasks)
            client.cancel(client.tasks[first : first + ask.count])
    else:
        more: dict[str, object] = {"allow_infeasible": True}
        if ask.verb == "batch":
            more["batch_key"] = world.agenda.chance.randbytes(16)
        elif ask.verb == "once":
            more["once"] = [f"nightly-{ask.shape}-{at}" for at in range(ask.count)]
        client.submit([_spec(world, ask)], [ask.behaviour.pack()] * ask.count, **more)


def _spec(world: World, ask: Ask) -> dict[str, object]:
    spec = {
        "kind": "command", "argv": ["x"], "array": True, **SHAPES[ask.shape], "grace_ms": GRACE_MS,
        "backoff_first_ms": BACKOFF_MS[0], "backoff_longest_ms": BACKOFF_MS[1], **dict(ask.more),
    }  # fmt: skip
    in_ms = spec.pop("deadline_in_ms", None)
    if isinstance(in_ms, int):
        spec["deadline_ms"] = world.scheduler.now.wall_ms + in_ms
    return spec


def press(world: World, client: str, times: int) -> None:
    """Have a client call every model, and want cards as large as what they take."""
    wanted = (*(CALL | {"model": model} for model in "abc"), *PRESSING)
    what = {"kind": "command", "argv": ["x"], "array": True, "grace_ms": GRACE_MS}
    specs = [what | shape for shape in wanted]
    args = [QUICK.pack()] * (len(specs) * times)
    world.clients[client].submit(specs, args, allow_infeasible=True)


def operate(world: World, verb: str, node: str, deadline_s: int = 0) -> None:
    """Have the operator do something to a node."""
    world.operator.request(_ON_NODES[verb](node, deadline_s))


_ON_NODES = {
    "drain": lambda node, deadline_s: m.Drain(node, "repair", deadline_s * 1_000),
    "undrain": lambda node, _: m.Undrain(node),
    "lost": lambda node, _: m.DeclareLost(node),
    "forget": lambda node, _: m.ForgetNode(node),
    "cordon": lambda gpu, _: m.CordonGpu(gpu, "noisy"),
    "uncordon": lambda gpu, _: m.UncordonGpu(gpu),
    "disable": lambda node, everywhere: m.SwitchHandler(HANDLER, "" if everywhere else node),
    "enable": lambda node, everywhere: m.SwitchHandler(
        HANDLER, "" if everywhere else node, on=True
    ),
    "reload": lambda node, everywhere: m.ReloadHandler(HANDLER, "" if everywhere else node),
}
