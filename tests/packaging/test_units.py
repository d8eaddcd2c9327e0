"""Would systemd start the daemons with the units we ship?"""

import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "systemd").glob("*.service"))
DAEMONS = [unit for unit in UNITS if "@" not in unit.name]
PREFIX = "/opt/remuda/bin/"


def service(unit: Path) -> dict[str, str]:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return dict(parser["Service"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze on this machine")
    scripts = str(Path(sys.executable).parent) + "/"
    copy = tmp_path / unit.name
    text = unit.read_text(encoding="utf-8").replace(PREFIX, scripts)
    copy.write_text(text, encoding="utf-8")
    done = subprocess.run([tool, "verify", str(copy)], capture_output=True, text=True, check=False)
    about_it = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (0, []) == (done.returncode, about_it)


@pytest.mark.parametrize("unit", DAEMONS, ids=lambda unit: unit.name)
def test_the_unit_starts_a_console_script_by_absolute_path(unit: Path) -> None:
    assert PREFIX + unit.stem == service(unit)["ExecStart"]


@pytest.mark.parametrize("unit", DAEMONS, ids=lambda unit: unit.name)
def test_a_daemon_that_dies_is_started_again(unit: Path) -> None:
    assert "always" == service(unit)["Restart"]


@pytest.mark.parametrize("unit", DAEMONS, ids=lambda unit: unit.name)
def test_a_reload_has_the_daemon_read_its_configuration_again(unit: Path) -> None:
    assert "/bin/kill -HUP $MAINPID" == service(unit)["ExecReload"]


@pytest.mark.parametrize("unit", DAEMONS, ids=lambda unit: unit.name)
def test_a_daemon_says_when_it_is_ready_and_earns_its_life(unit: Path) -> None:
    found = service(unit)
    assert ("notify", "30") == (found["Type"], found["WatchdogSec"])


def test_no_daemon_is_more_exposed_than_its_limit() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    done = subprocess.run([ROOT / "bin/units"], capture_output=True, text=True, check=False)
    assert (0, 4) == (done.returncode, done.stdout.count("verify fine")), done.stdout + done.stderr


def test_a_node_sees_gpus_by_the_names_in_proc_devices_and_tasks_may_compile_at_run_time() -> None:
    text = (ROOT / "systemd" / "remuda-node.service").read_text(encoding="utf-8")
    for line in ("PrivateDevices=", "MemoryDenyWriteExecute=", "PrivateTmp=", "nvidia-frontend"):
        assert line not in text
    assert "DeviceAllow=char-nvidia* rwm\n" in text


def test_the_sandboxes_of_those_that_bind_let_libzmq_list_interfaces() -> None:
    for daemon in ("scheduler", "store"):
        families = service(ROOT / "systemd" / f"remuda-{daemon}.service")["RestrictAddressFamilies"]
        assert "AF_NETLINK" in families.split()


def test_stopping_the_agent_leaves_its_runners_alone() -> None:
    assert "process" == service(ROOT / "systemd" / "remuda-node.service")["KillMode"]


HARDENING = (
    "NoNewPrivileges", "ProtectSystem", "ProtectClock", "ProtectHostname", "ProtectKernelLogs",
    "ProtectKernelModules", "ProtectKernelTunables", "RestrictRealtime", "RestrictSUIDSGID",
    "LockPersonality", "SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber",
    "DevicePolicy", "LimitNOFILE",
)  # fmt: skip


def test_a_task_of_another_user_is_as_hardened_and_sees_the_same_devices_as_others() -> None:
    node, helper = (
        (ROOT / "systemd" / f"remuda-{name}.service").read_text(encoding="utf-8").splitlines()
        for name in ("node", "run-as@")
    )
    names = (*HARDENING, "DeviceAllow")
    lines = [line for line in node if line.partition("=")[0] in names]
    assert len(names) <= len(lines)
    assert lines == [line for line in helper if line.partition("=")[0] in names]


def test_the_helper_may_become_users_and_end_their_tasks_and_no_more() -> None:
    found = service(ROOT / "systemd" / "remuda-run-as@.service")
    assert {
        "CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_READ_SEARCH",
    } == set(found["CapabilityBoundingSet"].split())  # fmt: skip
    assert ("mixed", "continue") == (found["KillMode"], found["OOMPolicy"])


def test_only_the_agent_reaches_the_helper() -> None:
    text = (ROOT / "systemd" / "remuda-run-as.socket").read_text(encoding="utf-8")
    for line in ("SocketUser=root", "SocketGroup=remuda", "SocketMode=0660", "Accept=yes"):
        assert f"{line}\n" in text
