"""Is a function named so that a node finds it, or refused with what to do?"""

import functools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from remuda.client.functions import Target, target_of
from remuda.protocol.errors import Invalid


class Counter:
    @classmethod
    def made(cls) -> "Counter":
        return cls()

    def count(self) -> int:
        return 1


def plain() -> None: ...


def wrapped() -> None: ...


original, wrapped = wrapped, functools.lru_cache(wrapped)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (math.sqrt, "math:sqrt"),
        (os.path.join, "posixpath:join"),
        (dict, "builtins:dict"),
        ("photos.repair:Tool.mend", "photos.repair:Tool.mend"),
    ],
)
def test_what_can_be_imported_travels_by_name(function: object, name: str) -> None:
    assert Target("function", name) == target_of(function)  # type: ignore[arg-type]


def test_functions_and_class_methods_of_a_module_travel_by_name() -> None:
    assert Target("function", f"{__name__}:plain") == target_of(plain)
    assert Target("function", f"{__name__}:Counter.made") == target_of(Counter.made)


def test_a_name_without_a_colon_is_a_handler() -> None:
    assert Target("handler", "inpaint-4") == target_of("inpaint-4")


def nested() -> object:
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (lambda: 1, "give it a name with def"),
        (nested(), "at the top of its module"),
        (functools.partial(plain), "submit its function"),
        (Counter().count, "submit a function that makes the object"),
        (original, "something else than the function handed in"),
        (Counter(), "is not a function"),
        ("no spaces: here", "write it module:qualname"),
        ("", "neither module:function nor the name of a handler"),
        (17, "is not a function"),
    ],
)
def test_what_a_node_could_not_find_is_refused_with_what_to_do(
    function: object, advice: str
) -> None:
    with pytest.raises(Invalid, match=advice) as caught:
        target_of(function)  # type: ignore[arg-type]
    assert "function" == caught.value.field


SCRIPT = """
from remuda.client.functions import target_of

def work(): ...

found = target_of(work)
print(found.target, found.source_name, len(found.source))
{tail}
"""


def run(*words: str, folder: Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_function_of_a_script_travels_with_its_file(tmp_path: Path) -> None:
    source = SCRIPT.format(tail="")
    (tmp_path / "script.py").write_text(source)
    done = run("script.py", folder=tmp_path)
    assert (f"__main__:work script.py {len(source)}\n", "") == (done.stdout, done.stderr)


def test_a_module_that_runs_as_main_is_named_by_its_real_name(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text(SCRIPT.format(tail=""))
    assert "tool:work  0\n" == run("-m", "tool", folder=tmp_path).stdout


def test_a_script_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(tail="#" * 70_000))
    done = run("script.py", folder=tmp_path)
    assert "ValueTooLarge" in done.stderr


def test_a_function_that_was_typed_in_is_refused(tmp_path: Path) -> None:
    done = run("-", folder=tmp_path, text=SCRIPT.format(tail=""))
    assert "was typed in" in done.stderr
