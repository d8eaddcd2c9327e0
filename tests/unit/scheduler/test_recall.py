"""Work that was sent ahead goes to a node that has room, when its own node is held up."""

from remuda.protocol import messages as m

from ...fakes.world import SimNode, World

RUN_US = 5_000


def _held_up(world: World) -> tuple[SimNode, list[int]]:
    """Return a node with a queue of tiny tasks behind two that do not end."""
    node = world.node("n1", cpus=2)
    (known,) = world.submit(kind="function", target="m:f")
    world.end(node, known, run_us=RUN_US)
    tasks = world.submit(12, kind="function", target="m:f")
    assert len(tasks) == len(node.held)
    return node, tasks


def test_queued_tasks_are_taken_back_when_another_node_is_free(world: World) -> None:
    node, tasks = _held_up(world)
    other = world.node("n2", cpus=4)
    world.later(0.3)
    assert tasks[:-5:-1] == node.killed
    for task in node.killed:
        world.end(node, task, m.Outcome.RETURNED)
    assert sorted(node.killed) == sorted(task for task, _ in other.held)
    assert [0] * 4 == [world.core.tasks[task].charged for task in node.killed]


def test_nothing_is_taken_back_while_no_other_node_has_room(world: World) -> None:
    node, _ = _held_up(world)
    world.node("n2", cpus=0.5)
    world.later(0.3)
    assert [] == node.killed


def test_nothing_is_taken_back_while_the_scheduler_holds(world: World) -> None:
    """It would wait for its release where it could have run."""
    node, _ = _held_up(world)
    world.core.hold("the disk is full")
    world.node("n2", cpus=4)
    world.later(0.3)
    assert [] == node.killed
    assert (world.core.deadline() or 0) > world.mono_ns
    world.core.resume("the disk is full")
    world.later(0.3)
    assert [] != node.killed


def test_a_task_is_asked_back_once(world: World) -> None:
    node, _ = _held_up(world)
    world.node("n2", cpus=1)
    world.later(0.3)
    asked = list(node.killed)
    world.later(0.0)
    assert asked == node.killed


def test_more_urgent_work_takes_the_place_of_what_was_sent_ahead(world: World) -> None:
    node, tasks = _held_up(world)
    (urgent,) = world.submit(kind="function", target="m:g", priority=90)
    world.later(0.3)
    assert tasks[:1:-1] == node.killed
    for task in node.killed:
        world.end(node, task, m.Outcome.RETURNED)
    world.end(node, tasks[0], run_us=RUN_US)
    assert "assigned" == world.state(urgent)


def test_work_of_the_same_priority_stays_where_it_was_sent(world: World) -> None:
    node, _ = _held_up(world)
    world.submit(kind="function", target="m:g")
    world.later(0.3)
    assert [] == node.killed
