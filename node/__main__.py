"""The node agent in the foreground: `remuda-node`."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from random import Random
from typing import NoReturn

import zmq

from ..config.credentials import node_key
from ..config.daemon import home_of, print_findings
from ..config.endpoints import read_endpoints
from ..config.findings import Finding
from ..config.home import Home
from ..config.keys import Identity, load_identity
from ..config.load import combined
from ..config.logs import configure_logs, get_logger
from ..config.notify import Notifier
from ..config.service import Service
from ..config.settings import NodeSettings, Settings
from ..config.sources import Sources
from ..protocol.errors import Conflict, Invalid, RemudaError
from ..protocol.resources import MILLI
from ..worker.batches import attempt_key
from . import capabilities, checking, joining, others, runtime, tuning
from .adoption import Adoption
from .archive import Archive
from .asking import Asks
from .capabilities import HostFacts, Limits
from .checkups import Checkups
from .core import Core
from .crew import Crew
from .executors import Executor
from .executors.command import CommandExecutor
from .executors.function import FunctionExecutor
from .executors.handler import HandlerExecutor
from .executors.surroundings import Surroundings, inherited_env
from .fetching import Fetching
from .followers import NS_PER_S, follow, health_limits_of, pace_of
from .gpu import Reading
from .gpu_locks import GpuLocks
from .handling import Handling
from .health import Health
from .hearing import Hearing
from .leaving import Leaving
from .loop import Loop
from .membership import Membership
from .mover.words import Setup
from .moving import Moving
from .naming import name_of
from .options import options_of
from .porter import Porter
from .preflight_host import of_host
from .premises import Premises, premises_of
from .probe import Probe, read_once
from .reach import Reach
from .report import Report
from .session import Session
from .slots import Card, Slots
from .stage import Stage
from .strain import Strain
from .trial import Trial
from .tuning import Tuning
from .usage import ForeignPolicy
from .wellbeing import Wellbeing
from .wire import Address, Wire

INCARNATION_BYTES = 16
CONFIG_EXIT = 2
ADOPTION_S = 120.0  # thousands of directories of attempts are looked through


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent, or print what this host can do; errors are one line."""
    options = options_of(argv)
    try:
        home = Home(home_of(options.home).root.expanduser().absolute())
        given = {"node.name": options.name}
        sources = Sources(home.root, given, files=options.config, profile=options.profile or "")
        settings = combined(sources.read()).settings
        if options.probe:
            return print_probe(settings, as_json=options.json)
        line = joining.line_from(options.join)
        if options.check:
            return print_findings(checking.check(home, settings, line), as_json=options.json)
        name = joining.join(home, settings, line) if line else name_of(home, settings)
        configure_logs(settings.logging, daemon=f"node {name}")
        return serve(home, settings, name, sources, Notifier.taken_from(os.environ))
    except RemudaError as error:
        print(f"remuda-node: {error}", file=sys.stderr)  # noqa: T201 - the one line of a failure
        return error.exit_code


def print_probe(settings: Settings, *, as_json: bool) -> int:
    """Print what a node on this host would offer."""
    facts = capabilities.host_facts(_reading(settings), _limits(settings))
    if as_json:
        sys.stdout.write(json.dumps(capabilities.to_plain(facts), indent=2) + "\n")
    else:
        sys.stdout.write(capabilities.render(facts))
    return 0


def serve(home: Home, settings: Settings, name: str, sources: Sources, notifier: Notifier) -> int:
    """Be the agent of one node until a signal ends it."""
    identity = load_identity(node_key(home, name))
    node_dir = settings.node.state_dir or home.node_dir(name)
    others.make_directory(node_dir)
    lock = _only_agent(node_dir)
    tuned = tuning.begin(sources, node_dir)  # from here on with what operators changed
    settings = tuned.running
    configure_logs(settings.logging, daemon=f"node {name}")
    for folder in ("work", "tasks", "runners"):
        others.make_directory(node_dir / folder)
    others.open_passage(settings.node, node_dir)
    asked_ns = time.monotonic_ns()
    reading = _reading(settings)
    facts = capabilities.host_facts(reading, _limits(settings), (node_dir,))
    found = of_host(settings.node, node_dir, reading)
    try:
        capabilities.write_capabilities(node_dir / "capabilities.json", facts)
    except (
        OSError
    ) as error:  # nobody here reads it: a full disk must not keep a node from its tasks
        get_logger().warning("capabilities not written", error=error.strerror)
    log = get_logger()
    service = Service(notifier, log)
    loop = build(home, tuned, name, identity, node_dir, facts, found, service)
    service.starting("adopting what runs", ADOPTION_S)
    loop.adoption.run()
    loop.stage.moving.begin(time.monotonic_ns())
    loop.stage.look_at_cards()
    loop.checkups.begin(time.monotonic_ns())
    # A task may come before the next reading: what its card showed without it is known by then.
    loop.see(reading, asked_ns, time.monotonic_ns())
    log.info(
        "started",
        incarnation=loop.stage.state.incarnation.hex(),
        adopted=loop.adoption.adopted,
        settled=loop.adoption.settled,
        gpus=len(facts.gpus),
        cpus=facts.cpus_milli / MILLI,
    )
    try:
        loop.run()
    finally:
        _end(loop)
        os.close(lock)
    log.info("ended", counters=loop.stage.state.counters.by_name)
    return 0


def build(
    home: Home,
    tuned: Tuning,
    name: str,
    identity: Identity,
    node_dir: Path,
    facts: HostFacts,
    found: Sequence[Finding],
    service: Service,
) -> Loop:
    """Put the parts of an agent together."""
    settings, node = tuned.running, tuned.running.node
    cards = {gpu.uuid: Card(gpu.memory_bytes) for gpu in facts.gpus}
    slots = Slots(facts.cpus_milli, facts.memory_bytes, cards, resources=dict(node.resources))
    core = Core(secrets.token_bytes(INCARNATION_BYTES), slots, max(1, facts.cpus_milli // MILLI))
    core.state.foreign = ForeignPolicy(node.foreign_processes)
    core.state.as_whom = others.as_whom(node, node_dir)
    code = _runtime(node_dir)
    env = inherited_env(os.environ)
    premises = premises_of(settings, node_dir, code, env, os.environ)
    handling = _handling(settings, core, premises, node_dir, name)
    report = Report(facts, _limits(settings), node.labels, _version(), premises, found)
    surroundings = Surroundings(
        name, settings, node_dir / "work", lambda: report.facts.gpus, env, premises=premises
    )
    executors = _executors(surroundings, handling)
    runners_dir = node_dir / "runners"
    crew = _crew(node, runners_dir, code)
    archive = Archive(int(settings.tasks.output_keep_s * NS_PER_S), node.output_bytes_max)
    moving = _moving(settings, identity, node_dir, core)
    stage = Stage(core, crew, archive, GpuLocks(name, node.lock_dir), executors, moving, premises)
    asks = Asks(core.state, crew, stage.seat_of)
    poller = zmq.Poller()
    chance = Random(secrets.randbits(64))
    wire = Wire(poller, identity.key, chance.randint)
    probe = Probe(node.nvml, node.probe_deadline_s)
    session = _session(node, chance)
    membership = Membership(
        name, stage, wire, session, report, probe, lambda: locate(home, identity),
        Strain(node_dir), handling, tuned,
    )  # fmt: skip
    pace = pace_of(node)
    wellbeing = Wellbeing(service, membership, probe, pace.probe_every_ns, time.monotonic_ns())
    loop = Loop(
        poller,
        stage,
        Adoption(Hearing(stage, asks), runners_dir),
        membership,
        Fetching(stage, wire),
        asks,
        Reach(asks, wire),
        wire,
        probe,
        _checkups(settings, stage, report, node_dir, env),
        pace,
        Leaving(stage, wellbeing.stopping),
        wellbeing,
    )
    tuned.followers.append(lambda changed: follow(loop, surroundings, name, changed))
    return loop


def _session(node: NodeSettings, chance: Random) -> Session:
    shortest_ns, longest_ns = node.reconnect_s_min * NS_PER_S, node.reconnect_s_max * NS_PER_S
    return Session(chance, int(shortest_ns), int(longest_ns))


def _crew(node: NodeSettings, runners_dir: Path, code: Path) -> Crew:
    return Crew(
        runners_dir,
        code,
        idle_s=node.runner_idle_s,
        runners_max=node.runners_max,
        unkillable_after_s=node.unkillable_after_s,
    )


def _executors(surroundings: Surroundings, handling: Handling) -> dict[str, Executor]:
    return {
        "command": CommandExecutor(surroundings),
        "function": FunctionExecutor(surroundings),
        "handler": HandlerExecutor(surroundings, handling.settings),
    }


def _handling(
    settings: Settings, core: Core, premises: Premises, node_dir: Path, name: str
) -> Handling:
    """Offer what this node declares, and what it was told to offer before."""
    file, labels = node_dir / "handlers.json", settings.node.labels
    handling = Handling(core.state, premises, file, name, labels, settings.handlers)
    handling.begin()
    return handling


def _moving(settings: Settings, identity: Identity, node_dir: Path, core: Core) -> Moving:
    """Say how files are moved; the process that does it is started when it is needed."""
    node, state = settings.node, core.state

    def setup() -> Setup:
        return Setup(
            str(node_dir),
            node.cache_bytes,
            node.cache_disk_free_bytes_min,
            node.dirs_bytes_max,
            settings.tasks.keep_dirs_s,
            node.store_patience_s,
            node.transfers,
            settings.tasks.outputs_bytes_max,
            identity.key.public,
            identity.key.secret,
            [attempt_key(*key) for key in state.attempts],
        )

    patience_ns = int(node.store_patience_s * NS_PER_S)
    return Moving(state, Porter(setup), node_dir / "tasks", patience_ns)


def _checkups(
    settings: Settings, stage: Stage, report: Report, node_dir: Path, env: Mapping[str, str]
) -> Checkups:
    gpus = settings.gpus
    stage.state.health = Health(health_limits_of(settings))
    trial = Trial(gpus.trial, gpus.trial_timeout_s) if gpus.trial else None
    file = node_dir / "gpu-health.json"
    return Checkups(stage, report, file, trial, env, settings.node.gpu_ids)


def _runtime(node_dir: Path) -> Path:
    try:
        return runtime.install(node_dir / "runtime")
    except OSError as error:
        raise Conflict(f"cannot write to {node_dir}: {error.strerror}: make room there") from error


def locate(home: Home, identity: Identity) -> Address:
    """Find the scheduler: where its home says that it listens now, else where our key file says."""
    endpoints = read_endpoints(home.endpoints_file)
    control = endpoints.url("control") if endpoints is not None else identity.endpoint
    if endpoints is not None and endpoints.scheduler_public != identity.scheduler_public:
        raise Invalid(
            "the scheduler of this home has another key than the one we trust: ask an admin of "
            "that cluster for a line to join with (`remuda key invite --role node`)"
        )
    host = control.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    return Address(host, control, identity.scheduler_public)


def _only_agent(node_dir: Path) -> int:
    """Take the lock of a node's directory: two agents would fight over its runners."""
    descriptor = os.open(node_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Conflict(
            f"another agent runs in {node_dir}: stop it, or use another --name"
        ) from error
    return descriptor


def _reading(settings: Settings) -> Reading:
    return read_once(settings.node.nvml, settings.node.probe_deadline_s)


def _limits(settings: Settings) -> Limits:
    node = settings.node
    cpus_milli = None if node.cpus is None else node.cpus * MILLI
    return Limits(cpus_milli, node.memory_bytes, node.gpus)


def _version() -> str:
    try:
        return metadata.version("remuda")
    except metadata.PackageNotFoundError:
        return "unknown"


def _end(loop: Loop) -> None:
    loop.probe.close()
    loop.checkups.close()
    loop.stage.moving.porter.close()
    loop.stage.premises.environments.close()
    loop.wire.close()
    loop.stage.crew.close()
    loop.stage.locks.close()


def run() -> NoReturn:
    """Be the process of an agent."""
    sys.exit(main())


if __name__ == "__main__":
    run()
