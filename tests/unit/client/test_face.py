"""Is `import remuda` light, and does every public name lead somewhere?"""

import subprocess
import sys

import pytest

import remuda

HEAVY = ("zmq", "msgpack", "pydantic", "typer", "structlog", "apsw", "redis", "rich", "asyncio")


def loaded_after(code: str) -> set[str]:
    listing = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, check=True)
    return set(done.stdout.decode().split())


def test_importing_remuda_imports_nothing_heavy() -> None:
    loaded = loaded_after("import remuda")
    assert [] == [name for name in HEAVY if name in loaded]
    assert {"remuda"} == {name for name in loaded if name.startswith("remuda")}


def test_a_client_needs_no_settings_library() -> None:
    loaded = loaded_after("from remuda import Client")
    assert [] == [name for name in ("pydantic", "structlog", "typer", "redis") if name in loaded]


@pytest.mark.parametrize("name", remuda.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(remuda, name)
    assert name in dir(remuda)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        remuda.Cleint  # noqa: B018 - the look-up is the test
