"""Does a client hear what its configuration says of clients, and load nothing where none is?"""

import subprocess
import sys

import pytest

from remuda.config.client_table import ClientTable, read_client_table
from remuda.config.problems import ConfigError
from remuda.config.settings import ClientSettings

LOOK = """
import sys
from pathlib import Path
from remuda.config.client_table import read_client_table
read_client_table(Path(sys.argv[1]), env={}, etc=Path(sys.argv[1]) / "none")
print("pydantic" in sys.modules)
"""


def read(tmp_path, home="", etc="", **env):
    for name, text in (("home", home), ("etc", etc)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "remuda.toml").write_text(text)
    return read_client_table(tmp_path / "home", env=env, etc=tmp_path / "etc")


def test_what_is_not_said_is_as_the_packaged_defaults_say():
    packaged, ours = ClientSettings(), ClientTable()
    assert {name: getattr(packaged, name) for name in ClientTable.__slots__} == {
        name: getattr(ours, name) for name in ClientTable.__slots__
    }


def test_each_layer_is_laid_over_the_one_before(tmp_path):
    found = read(
        tmp_path,
        etc='[client]\npoll = "1s"\nmap_frame_tasks = 5',
        home="[client]\nmap_frame_tasks = 6\nmap_window_tasks = 60",
        REMUDA_CLIENT__MAP_WINDOW_TASKS="70",
    )
    assert ClientTable(poll_s=1.0, map_frame_tasks=6, map_window_tasks=70) == found


def test_what_is_wrong_elsewhere_is_no_matter_of_a_client(tmp_path):
    text = "[client]\nmap_frame_tasks = 6\n[node]\nnonsense = 1"
    assert 6 == read(tmp_path, home=text).map_frame_tasks


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[client]\nframes = 1", "unknown key client.frames"),
        ("[client]\nmap_frame_tasks = 0", "it must be at least 1"),
        ("[client]\nmap_window_tasks = 10", "map_frame_tasks must be at most map_window_tasks"),
    ],
)
def test_what_is_wrong_with_the_table_is_named_with_its_file(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        read(tmp_path, home=text)
    assert "home/remuda.toml" in str(caught.value)


def test_where_nothing_is_said_no_model_is_loaded(tmp_path):
    (tmp_path / "remuda.toml").write_text("[node]\ncpus = 2")
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "False\n" == done.stdout
