"""Do hosts that share nothing with the client join by one line and do its work?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .site import ROOT, Site, real_site

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with real_site(tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_command_runs_on_a_host_of_its_own(site: Site, name: str) -> None:
    script = "ip -o -4 addr show eth0; echo $HOME"
    done = site.type("run", "--node", name, "--", "sh", "-c", script)
    assert (0, "") == (done.returncode, done.stderr)
    host = site.hosts[name]
    assert f"{host.address}/24" in done.stdout
    assert str(host.home) == done.stdout.splitlines()[-1]


@pytest.mark.parametrize("hidden", ["our code", "the client's files"])
def test_a_host_does_not_see_what_lies_with_the_client(site: Site, hidden: str) -> None:
    folder = {"our code": ROOT, "the client's files": site.files}[hidden]
    (site.files / "a.txt").write_text("not there")
    assert list(folder.iterdir())
    done = site.type("run", "--", "ls", "-A", str(folder))
    assert (0, "") == (done.returncode, done.stdout)


def test_a_function_runs_in_the_environment_of_the_host(site: Site) -> None:
    with site.client() as client:
        prefix = client.options(node="a").call("sysconfig:get_path", "purelib")
    assert prefix.startswith(str(site.hosts["a"].folder / "venv"))
