"""Does an error that crossed the wire say and mean what it did before?"""

import pytest

from remuda.protocol import errors
from remuda.protocol.errors import RemudaError, from_wire


def tree(kind: type[RemudaError]) -> list[type[RemudaError]]:
    return [kind, *(below for heir in kind.__subclasses__() for below in tree(heir))]


ON_THE_WIRE = sorted(
    {
        kind
        for kind in tree(RemudaError)
        if kind.__module__ == errors.__name__ and kind is not errors.TaskFailed
    },
    key=lambda kind: kind.code,
)


@pytest.mark.parametrize("kind", ON_THE_WIRE, ids=lambda kind: kind.code)
def test_each_error_comes_back_as_its_own_class(kind: type[RemudaError]) -> None:
    error = from_wire(kind.code, "it broke: mend it", field="gpus", retry_after_s=2.5)
    assert kind is type(error)
    assert ("it broke: mend it", "gpus", 2.5) == (error.message, error.field, error.retry_after_s)
    assert "it broke: mend it" == str(error)


def test_an_unknown_code_is_kept_on_the_root() -> None:
    error = from_wire("from_the_future", "new trouble")
    assert RemudaError is type(error)
    assert "from_the_future" == error.code
    assert "error" == RemudaError.code


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in ON_THE_WIRE]
    assert sorted(set(codes)) == codes


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("not_found", 3), ("infeasible", 4), ("not_allowed", 4), ("invalid", 4), ("unreachable", 5),
     ("queue_full", 75), ("from_the_future", 1)],
)  # fmt: skip
def test_scripts_can_tell_errors_apart_by_exit_code(code: str, exit_code: int) -> None:
    assert exit_code == from_wire(code, "").exit_code


def test_a_failed_task_tells_its_story() -> None:
    error = errors.TaskFailed("exit code 3", task_id="T", task_code="exit_code", returncode=3)
    assert ("T", "exit_code", 3, "") == (
        error.task_id, error.task_code, error.returncode, error.traceback,
    )  # fmt: skip
