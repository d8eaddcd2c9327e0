"""What the commands of a transcript do: each line acts on a world and yields what followed."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.capabilities import to_document
from remuda.protocol.resources import parse_bytes, parse_duration_s
from remuda.scheduler.events import Event
from remuda.scheduler.explain import explain
from remuda.scheduler.records import Effects

from ..fakes.world import SimNode, World, gpu
from .trace import lines_of

DIVIDER = "----"


class Stage(World):
    """A world that writes down what every turn did."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.said: dict[int, tuple[str, m.Results]] = {}
        super().__init__(folder)

    def step(self, *events: Event) -> Effects:
        effects: Effects = super().step(*events)
        self.lines += lines_of(effects, self.now.wall_ms, lambda name: self.nodes[name].deaf)
        return effects

    def holder(self, task: int, name: str = "") -> SimNode:
        """Return the node that holds the newest attempt of a task, or the one named."""
        if name:
            return self.nodes[name]
        holders = [
            node for node in self.nodes.values() if any(task == held for held, _ in node.held)
        ]
        return max(holders, key=lambda node: node.attempt_of(task))

    def end_as(self, outcome: m.Outcome, task: int, options: dict[str, str]) -> None:
        node = self.holder(task, options.get("node", ""))
        value = options.get("value", "").encode()
        run_us = round(parse_duration_s(options.get("run", "1s")) * 1e6)
        code = options.get("code", "exit_code")
        said = self.end(node, task, outcome, code=code, value=value, run_us=run_us)
        self.said[task] = node.name, said

    def perform(self, line: str) -> list[str]:
        """Do one command and return the trace of all turns that it took."""
        self.lines = []
        verb, *words = shlex.split(line)
        plain = [word for word in words if "=" not in word]
        options = dict(word.split("=", 1) for word in words if "=" in word)
        _VERBS[verb](self, plain, options)
        return self.lines or ["nothing"]


def _node(stage: Stage, words: list[str], options: dict[str, str]) -> None:
    sizes = options.get("gpus", "").split(",") if "gpus" in options else []
    first = sum(len(node.capabilities.gpus) for node in stage.nodes.values()) + 1
    cards = [gpu(first + i, parse_bytes(size) >> 30) for i, size in enumerate(sizes)]
    stage.node(words[0], cpus=float(options.get("cpus", "2")), gpus=cards)


_SPEC: dict[str, tuple[str, Callable[[str], Any]]] = {
    "cpus": ("cpus_milli", lambda text: round(float(text) * 1000)),
    "gpus": ("gpus", int),
    "vram": ("vram_bytes", parse_bytes),
    "retries": ("retries", int),
    "priority": ("priority", int),
    "backoff": ("backoff_first_ms", lambda text: round(parse_duration_s(text) * 1000)),
    "owner": ("owner", str),
    "if-node-lost": ("if_node_lost", str),
    "deadline": ("deadline_ms", int),
    "timeout": ("timeout_ms", lambda text: round(parse_duration_s(text) * 1000)),
    "runs": ("argv", lambda text: [text]),
    "start-timeout": ("start_timeout_ms", lambda text: round(parse_duration_s(text) * 1000)),
}


def _submit(stage: Stage, words: list[str], options: dict[str, str]) -> None:
    """Submit tasks; `deadline=30s` is so long from now."""
    deadline = options.pop("deadline", "")
    if deadline:
        options["deadline"] = str(stage.now.wall_ms + round(parse_duration_s(deadline) * 1000))
    fields = {_SPEC[key][0]: _SPEC[key][1](text) for key, text in options.items()}
    stage.submit(int(words[0]) if words else 1, **fields)


def _progress(stage: Stage, words: list[str], _options: dict[str, str]) -> None:
    task = int(words[0])
    node = stage.holder(task)
    tries, milli = [node.attempt_of(task)], [int(words[1])]
    stage.says(node, m.Progress([ids.to_bytes(task)], tries, milli, [words[2]]))


def _reject(stage: Stage, words: list[str], _options: dict[str, str]) -> None:
    task = int(words[0])
    node = stage.holder(task)
    number = node.attempt_of(task)
    token, _ = node.held.pop((task, number))
    stage.says(node, m.Reject([ids.to_bytes(task)], [number], [token], [words[1]]))


def _say_again(stage: Stage, words: list[str], _options: dict[str, str]) -> None:
    name, said = stage.said[int(words[0])]
    stage.says(stage.nodes[name], said)


def _drain(stage: Stage, words: list[str], options: dict[str, str]) -> None:
    deadline_s = parse_duration_s(options.get("deadline", "0"))
    stage.drain(words[0], reason=options.get("reason", ""), deadline_s=deadline_s)


def _keep_alive(stage: Stage, words: list[str], _options: dict[str, str]) -> None:
    """Let time pass while these nodes are heard, and show only what came of it."""
    stage.keep_alive(parse_duration_s(words[0]), *(stage.nodes[name] for name in words[1:]))
    stage.lines = [line for line in stage.lines if " desired, " not in line]


def _explain(stage: Stage, words: list[str], _options: dict[str, str]) -> None:
    answer = explain(stage.core, int(words[0]), stage.now)
    stage.lines = [f"explained {answer['reason']}"]
    stage.lines += [
        f"          {each['node']}: {each['reason'] or 'it fits'}" for each in answer["nodes"]
    ]


def _join(stage: Stage, words: list[str], options: dict[str, str]) -> None:
    """Register again; `memory=lost` comes up with nothing."""
    node = stage.nodes[words[0]]
    if options.get("memory") == "lost":
        node.held.clear()
    stage.join(node)


def _state_faults(stage: Stage, words: list[str], _options: dict[str, str]) -> None:
    """Have a node state the faults of one of its GPUs; with none it is well."""
    node = stage.nodes[words[0]]
    gpus = [
        replace(each, faults=words[2:]) if each.uuid == words[1] else each
        for each in node.capabilities.gpus
    ]
    node.capabilities = replace(node.capabilities, gpus=gpus)
    beat = node.heartbeat()
    beat.capabilities = to_document(node.capabilities)
    stage.says(node, beat)


def _set_deaf(stage: Stage, words: list[str], options: dict[str, str]) -> None:
    stage.nodes[words[0]].deaf = options["messages"] == "lost"


_VERBS: dict[str, Callable[[Stage, list[str], dict[str, str]], object]] = {
    "node": _node,
    "submit": _submit,
    "start": lambda stage, words, _: stage.start(stage.holder(int(words[0])), int(words[0])),
    "end": lambda stage, words, options: stage.end_as(m.Outcome.SUCCEEDED, int(words[0]), options),
    "fail": lambda stage, words, options: stage.end_as(m.Outcome.FAILED, int(words[0]), options),
    "killed": lambda stage, words, options: stage.end_as(m.Outcome.KILLED, int(words[0]), options),
    "return": lambda stage, words, options: stage.end_as(
        m.Outcome.RETURNED, int(words[0]), options
    ),
    "say-again": _say_again,
    "progress": _progress,
    "reject": _reject,
    "cancel": lambda stage, words, _: stage.cancel(*map(int, words)),
    "heartbeat": lambda stage, words, _: stage.heartbeat(stage.nodes[words[0]]),
    "explain": _explain,
    "wait": lambda stage, words, _: stage.later(parse_duration_s(words[0])),
    "restart": lambda stage, _words, _options: stage.restart(),
    "register": _join,
    "pipe": _set_deaf,
    "drain": _drain,
    "faults": _state_faults,
    "cordon": lambda stage, words, options: stage.cordon(words[0], options.get("reason", "")),
    "uncordon": lambda stage, words, _: stage.uncordon(words[0]),
    "undrain": lambda stage, words, _: stage.undrain(words[0]),
    "lost": lambda stage, words, _: stage.declare_lost(words[0]),
    "forget": lambda stage, words, _: stage.forget(words[0]),
    "reboot": lambda stage, words, _: stage.reboot(stage.nodes[words[0]]),
    "alive": _keep_alive,
}


def play(text: str, folder: Path) -> str:
    """Perform a transcript and return it with what happened under each of its commands."""
    stage = Stage(folder)
    played = []
    for block in text.strip().split("\n\n"):
        asked = block.split(f"\n{DIVIDER}")[0].splitlines()
        lines = list(asked)
        commands = [line for line in asked if not line.startswith("#")]
        if commands:
            lines.append(DIVIDER)
        for command in commands:
            lines += stage.perform(command)
        played.append("\n".join(lines))
    stage.close()
    return "\n\n".join(played) + "\n"
