"""Would the image build, start the right daemons and tell a healthy one from one that hangs?"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from remuda.config.notify import HEALTH_FILE_VARIABLE, HEALTH_WITHIN_NS, Notifier
from remuda.scheduler.metrics_table import BY_NAME

SUFFIXES = {"gauge": ("",), "counter": ("",), "histogram": ("_bucket", "_sum", "_count")}
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "containers"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]


def health_command() -> list[str]:
    found = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found is not None
    command: list[str] = json.loads(found[1])
    return command


def test_hadolint_has_nothing_to_say_about_the_dockerfile() -> None:
    tool = shutil.which("hadolint")
    if tool is None:
        pytest.skip("no hadolint on this machine")
    command = [tool, "--no-color", str(FOLDER / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stdout)


def test_what_the_dockerfile_takes_along_builds_the_package(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line.startswith("!"):
            taken = ROOT / line[1:]
            if taken.is_dir():
                shutil.copytree(taken, source / taken.name, symlinks=True)
            else:
                shutil.copy(taken, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert "remuda/systemd/remuda-node.service" in ZipFile(wheel).namelist()


def test_the_image_runs_as_a_user_that_is_not_root_and_starts_what_there_is() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert ["900:900"] == users
    started = re.findall(r"command: \[(remuda[^,\]]*)", COMPOSE)
    assert {"remuda-scheduler", "remuda-store", "remuda-node"} == set(started)
    assert set(started) <= SCRIPTS.keys()


@pytest.mark.parametrize(("age_s", "code"), [(0, 0), (HEALTH_WITHIN_NS / 1e9 + 5, 1)])
def test_a_daemon_whose_file_grows_old_is_not_healthy(tmp_path: Path, age_s, code) -> None:
    path = tmp_path / "health"
    notifier = Notifier.taken_from({HEALTH_FILE_VARIABLE: str(path)})
    notifier.status("serving")
    notifier.ping()
    then = time.time() - age_s
    os.utime(path, (then, then))
    environment = {"PATH": os.environ["PATH"], HEALTH_FILE_VARIABLE: str(path)}
    done = subprocess.run(
        health_command(), env=environment, capture_output=True, text=True, check=False
    )
    assert (code, "serving\n") == (done.returncode, done.stdout)


def test_a_daemon_that_never_pinged_is_not_healthy(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], HEALTH_FILE_VARIABLE: str(tmp_path / "none")}
    done = subprocess.run(health_command(), env=environment, capture_output=True, check=False)
    assert 0 != done.returncode


def test_compose_names_settings_and_files_that_exist() -> None:
    yaml = pytest.importorskip("yaml", reason="no PyYAML on this machine")
    services = yaml.safe_load(COMPOSE)["services"]
    assert {"scheduler", "store", "node", "redis", "prometheus", "grafana"} <= services.keys()
    for name, each in services.items():
        assert "healthcheck" in each or each["image"] == "remuda:local", name
        for volume in each.get("volumes", []):
            place = volume.partition(":")[0]
            assert not place.startswith(".") or (FOLDER / place).exists(), volume
    assert [["monitoring"]] * 2 == [services[one]["profiles"] for one in ("prometheus", "grafana")]


def test_settings_of_the_compose_file_are_settings_of_ours(tmp_path: Path) -> None:
    from remuda.config.load import load

    names = re.findall(r"^ +(REMUDA_\w+__\w+): (\S+)$", COMPOSE, re.MULTILINE)
    found = load(tmp_path, env=dict(names))
    assert ("0.0.0.0", "redis://redis:6379/0", "0.0.0.0:7709") == (
        found.settings.scheduler.listen,
        found.settings.redis.url,
        found.settings.metrics.listen,
    )


def test_prometheus_scrapes_where_the_scheduler_serves_metrics() -> None:
    text = (FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    assert '- targets: ["scheduler:7709"]' in text
    assert "- /etc/prometheus/alerts.yml" in text


@pytest.mark.parametrize("name", ["alerts.yml", "grafana/remuda.json"])
def test_alerts_and_dashboard_ask_for_metrics_and_labels_that_there_are(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    asked = set(re.findall(r"\bremuda_([a-z_]+)", text))
    known = {f"{each.name}{end}" for each in BY_NAME.values() for end in SUFFIXES[each.kind]}
    of_process = {each for each in asked if each.startswith("scheduler_process_")}
    assert set() == asked - known - of_process
    labels = set(re.findall(r"remuda_\w+\{([^}]*)\}", text))
    used = {label for each in labels for label in re.findall(r"(\w+)\s*[=!]", each)}
    assert used <= {label for each in BY_NAME.values() for label in each.labels} | {"job"}


def test_the_dashboard_loads_without_edits() -> None:
    dashboard = json.loads((FOLDER / "grafana" / "remuda.json").read_text(encoding="utf-8"))
    assert ["datasource", "node"] == [each["name"] for each in dashboard["templating"]["list"]]
    panels = dashboard["panels"]
    assert (
        len(panels)
        == len({panel["id"] for panel in panels})
        == len({panel["title"] for panel in panels})
    )
    for panel in panels:
        assert "${datasource}" == panel["datasource"]["uid"]
        assert panel["targets"], panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]


def test_the_alerts_are_rules_as_prometheus_reads_them() -> None:
    yaml = pytest.importorskip("yaml", reason="no PyYAML on this machine")
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    rules = group["rules"]
    assert len(rules) == len({rule["alert"] for rule in rules})
    for rule in rules:
        assert {"alert", "expr", "for", "labels", "annotations"} == rule.keys()
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
