"""Which value holds when layers disagree, where it came from, and what a mistake is told."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.config.fields import toml_key
from remuda.config.layers import FILE_BYTES_MAX, FILES_MAX, Layer, Origin
from remuda.config.load import DEFAULTS_FILE, Loaded, load
from remuda.config.problems import ConfigError
from remuda.config.settings import SchedulerSettings, Settings
from remuda.protocol.errors import Invalid, NotFound

FILE_LAYERS = (Layer.ETC, Layer.HOME, Layer.FILE)
KEYS = {toml_key(name) for name in SchedulerSettings.model_fields} | set(
    SchedulerSettings.model_fields
)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "home").mkdir()
    return tmp_path


def load_here(here: Path, text: str = "", **layers) -> Loaded:
    (here / "home" / "remuda.toml").write_text(text)
    return load(here / "home", **{"env": {}, "etc": here / "etc", **layers})


def error_of(here: Path, text: str = "", **layers) -> str:
    with pytest.raises(ConfigError) as caught:
        load_here(here, text, **layers)
    return str(caught.value)


@given(
    values=st.dictionaries(
        st.sampled_from((*FILE_LAYERS, Layer.ENV, Layer.OPTION)), st.integers(1, 10_000)
    )
)
def test_the_strongest_layer_that_sets_a_key_wins_and_is_its_origin(tmp_path_factory, values):
    here = tmp_path_factory.mktemp("layers")
    files = {}
    for layer in FILE_LAYERS:
        files[layer] = here / layer.value / "a.toml"
        files[layer].parent.mkdir()
        if layer in values:
            files[layer].write_text(f"# comment\n[scheduler]\n\nnodes_max = {values[layer]}\n")
    origins = {layer: Origin(layer, path, 4) for layer, path in files.items()}
    origins[Layer.ENV] = Origin(Layer.ENV, name="REMUDA_SCHEDULER__NODES_MAX")
    origins[Layer.OPTION] = Origin(Layer.OPTION, name="scheduler.nodes_max")
    loaded = load(
        here / "home",
        etc=here / "etc",
        files=[files[Layer.FILE]] if Layer.FILE in values else [],
        env={"REMUDA_SCHEDULER__NODES_MAX": str(values[Layer.ENV])} if Layer.ENV in values else {},
        options={"scheduler.nodes_max": values.get(Layer.OPTION)},
    )
    winner = max(values, key=list(Layer).index, default=None)
    assert loaded.settings.scheduler.nodes_max == (values[winner] if winner else 1000)
    if winner:
        assert origins[winner] == loaded.origin("scheduler.nodes_max")


@given(
    key=st.text(string.ascii_lowercase + "_", min_size=1, max_size=20).filter(
        lambda key: key not in KEYS
    ),
    before=st.lists(st.sampled_from(["", "# lease", "port = 1", 'lease = "30s"']), unique=True),
)
def test_an_unknown_key_is_named_with_its_file_and_line(tmp_path_factory, key, before):
    here = tmp_path_factory.mktemp("unknown")
    file = here / "remuda.toml"
    file.write_text("\n".join(["[scheduler]", *before, f"{key} = 1", "nodes_max = 5"]))
    with pytest.raises(ConfigError) as caught:
        load(here, env={}, etc=here / "none")
    assert str(caught.value).startswith(f"{file}:{len(before) + 2}: unknown key scheduler.{key}: ")


def test_without_any_file_the_defaults_hold(here):
    assert Settings() == load(None, env={}, etc=here / "none").settings


def test_files_of_a_directory_are_read_in_the_order_of_their_names(here):
    (here / "etc" / "10.toml").write_text("node.cpus = 1")
    (here / "etc" / "20.toml").write_text("node.cpus = 2")
    assert 2 == load_here(here).settings.node.cpus


def test_the_keys_of_free_tables_are_merged_across_layers(here):
    (here / "etc" / "a.toml").write_text('[node.labels]\nzone = "a"\nrack = "7"')
    loaded = load_here(here, '[node]\nlabels = { zone = "b" }')
    assert {"zone": "b", "rack": "7"} == loaded.settings.node.labels


def test_a_handler_may_be_completed_by_a_stronger_layer(here):
    (here / "etc" / "a.toml").write_text('[handlers.inpaint]\ntarget = "photos:Inpainter"')
    loaded = load_here(here, env={"REMUDA_HANDLERS__inpaint__VRAM": "4GiB"})
    handler = loaded.settings.handlers["inpaint"]
    assert ("photos:Inpainter", 4 << 30) == (handler.target, handler.vram_bytes)


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("REMUDA_SCHEDULER__LEASE", "45s", "scheduler.lease", 45.0),
        ("REMUDA_SCHEDULER__LEASE_S", "45", "scheduler.lease", 45.0),
        ("REMUDA_NODE__NAME", "12", "node.name", "12"),
        ("REMUDA_NODE__CPUS", "4", "node.cpus", 4),
        ("REMUDA_NODE__GPUS", "[]", "node.gpus", ()),
        ("REMUDA_NODE__GPUS", '["GPU-1"]', "node.gpus", ("GPU-1",)),
        ("REMUDA_NODE__LABELS", '{ zone = "a" }', "node.labels.zone", "a"),
        ("REMUDA_NODE__LOCK_DIR", "/locks", "node.lock_dir", Path("/locks")),
        ("REMUDA_TASKS__ENV__OMP_NUM_THREADS", "2", "tasks.env.OMP_NUM_THREADS", "2"),
        ("REMUDA_LOGGING__LEVEL", "debug", "logging.level", "debug"),
    ],
)
def test_a_variable_of_the_environment_is_read_as_its_key_wants(here, name, text, key, value):
    assert value == load_here(here, env={name: text}).get(key)


def test_a_variable_without_two_underscores_is_no_configuration(here):
    env = {"REMUDA_HOME": "/x", "REMUDA_TASK_ID": "1", "OTHER__KEY": "2"}
    assert Settings() == load_here(here, env=env).settings


def test_an_option_that_was_not_given_changes_nothing(here):
    assert Settings() == load_here(here, options={"scheduler.port": None}).settings


def test_an_option_may_be_a_whole_table(here):
    options = {"handlers": {"inpaint": {"target": "photos:Inpainter", "workers": 2}}}
    assert 2 == load_here(here, options=options).settings.handlers["inpaint"].workers


def test_a_free_key_with_a_dot_is_quoted(here):
    loaded = load_here(here, '[node.labels]\n"example.com/zone" = "a"')
    key = 'node.labels."example.com/zone"'
    assert ("a", 2) == (loaded.get(key), loaded.origin(key).line)


def test_every_entry_can_be_got_by_its_key_and_written_back(here):
    loaded = load_here(
        here,
        '[node.labels]\n"a b" = "x"\n'
        '[handlers.h]\ntarget = "a:b"\nmodels = ["lama"]\nvram = "1.5GiB"\n',
    )
    text = "\n".join(f"{each.key} = {each.text}" for each in loaded.entries() if each.text)
    assert loaded.settings == load_here(here, text).settings
    assert [each.value for each in loaded.entries()] == [
        loaded.get(each.key) for each in loaded.entries()
    ]


def test_the_origin_of_an_untouched_key_is_its_line_in_the_defaults(here):
    origin = load_here(here).origin("scheduler.lease")
    line = DEFAULTS_FILE.read_text().splitlines()[origin.line - 1]
    assert (Layer.DEFAULTS, True) == (origin.layer, line.startswith('lease = "30s"'))


@pytest.mark.parametrize(
    "key", ["scheduler.leas", "nothing", "scheduler..lease", "scheduler.lease.x"]
)
def test_asking_for_an_unknown_key_is_not_found(here, key):
    with pytest.raises(NotFound, match="key"):
        load_here(here).get(key)


def test_asking_for_a_free_key_that_nobody_set_is_not_found(here):
    with pytest.raises(NotFound, match="nothing is configured"):
        load_here(here).get("tasks.env.HOME")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[node]\ncpus = 0", 2, "node.cpus: found 0; it must be at least 1"),
        ("[node]\n\nmemory = '1KiB'", 3, "node.memory: found '1KiB'; it must be at least \"1MiB\""),
        ("[scheduler]\nlease = '2h'", 2, "scheduler.lease: found '2h'; it must be at most \"1h\""),
        ("[scheduler]\nport = 'x'", 2, "scheduler.port: found 'x'; it must be a whole number"),
        ("[node]\ncpus = '4'", 2, "node.cpus: found '4'; it must be a whole number"),
        ("[logging]\nlevel = 'loud'", 2,
         "logging.level: found 'loud'; it must be 'debug', 'info', 'warning' or 'error'"),
        ("node = 5", 1, "node: found 5; it is a table: write [node]"),
        ("[node]\nlabels = 'a'", 2, "node.labels: found 'a'; it is a table: write [node.labels]"),
        ("[node]\ngpus = [\n 1,\n]", 2, "node.gpus: found [1]; it must be a text"),
        ("[handlers.a]\ncpus = 2", 2, "handlers.a.target: is missing"),
        ("[handlers.a]", 1, "handlers.a.target: is missing"),
        ("[handlers.a]\ntarget = 'a:b'\nmax_wait = '20ms'", 2,
         "handlers.a: found {'target': 'a:b', 'max_wait_s': '20ms'}; "
         "max_wait waits for more calls, so it needs max_batch of 2 or more"),
        ("[handlers.a]\ntarget = 'a:b'\nmax_batch = 2000", 3,
         "handlers.a.max_batch: found 2000; it must be at most 1024"),
        ("[handlers.a]\ntarget = 'a:b'\noptions = { 'a-b' = 1 }", 3,
         "handlers.a.options: found {'a-b': 1}; 'a-b' is no name of a keyword argument"),
        ("[scheduler]\nlaese = 1", 2, "unknown key scheduler.laese: did you mean lease?"),
        ("[metric]\nlisten = 1", 1,
         "unknown key metric: did you mean metrics?"),
        ("[metrics]\nlisten = '127.0.0.1'", 2,
         "metrics.listen: found '127.0.0.1'; "
         "an address with its port is written 127.0.0.1:7709 or [::1]:7709"),
        ("[alarms]\nlisten = 1", 1,
         "unknown key alarms: "
         "allowed are client, cluster, environments, gpus, handlers, logging, metrics, node, "
         "placement, "
         "policies, pythons, redis, scheduler, secrets, store, tasks"),
        ("[node]\ncpus = ", 2, "is not TOML: Invalid value"),
        ("[node]\ncpus = 1\ncpus = 2", 3, "is not TOML: Cannot overwrite a value"),
        ('[scheduler]\nheartbeat = "2s"\nlease = "3s"\noffer_tries = 1\noffer_resend = 1', 3,
         'scheduler.lease = "3s", scheduler.heartbeat = "2s": '
         'lease must be at least 2 x heartbeat'),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_told_with_file_line_key_found_and_allowed(
    here, text, line, message
):
    assert f"{here}/home/remuda.toml:{line}: {message}" == error_of(here, text)


def test_a_mistake_in_the_environment_names_the_variable(here):
    message = error_of(here, env={"REMUDA_NODE__CPU": "4"})
    assert "environment REMUDA_NODE__CPU: unknown key node.cpu: did you mean cpus?" == message


def test_a_mistake_in_an_option_names_the_option(here):
    message = error_of(here, options={"node.cpus": -1})
    assert "option node.cpus: node.cpus: found -1; it must be at least 1" == message


def test_an_unknown_option_is_named(here):
    assert error_of(here, options={"a b": 1}).startswith("option a b: unknown key: 'a b' is not")


def test_a_contradiction_is_blamed_on_the_stronger_layer(here):
    (here / "etc" / "a.toml").write_text('[scheduler]\nheartbeat = "6s"\nsuspect_after = "12s"')
    message = error_of(here, '[scheduler]\nlease = "11s"\noffer_resend = "1s"')
    assert message.startswith(f"{here}/home/remuda.toml:2: scheduler.lease")


@pytest.mark.parametrize(
    "options",
    [
        {"scheduler.lost_after": "18s"},
        {"scheduler.suspect_after": "3s"},
        {"scheduler.lease": "3s", "scheduler.offer_resend": "1s"},
        {"scheduler.offer_tries": 7},
        {"scheduler.user_tasks_max": 3_000_000},
        {"scheduler.frame_max": "64KiB"},
        {"scheduler.port": 64_527},
        {"node.reconnect_min": "31s"},
        {"tasks.backoff_min": "6m"},
        {"tasks.output_edge": "1MiB", "tasks.output_max": "1MiB"},
        {"tasks.output_max": "2GiB"},
        {"client.map_window_tasks": 999},
    ],
)
def test_settings_that_contradict_each_other_are_refused(here, options):
    with pytest.raises(ConfigError, match="must") as caught:
        load_here(here, options=options)
    assert 1 == len(caught.value.problems)


@pytest.mark.parametrize(
    "options",
    [
        {"scheduler.lost_after": "18001ms"},
        {"scheduler.suspect_after": "4s"},
        {"scheduler.lease": "4s", "scheduler.offer_resend": "1s"},
        {"scheduler.offer_tries": 6},
        {"scheduler.port": 64_526},
        {"scheduler.port": 0, "scheduler.nodes_max": 10_000},
        {"tasks.output_edge": "512KiB", "tasks.output_max": "1MiB"},
        {"client.map_window_tasks": 1_000},
    ],
)
def test_settings_just_inside_the_rules_are_accepted(here, options):
    assert load_here(here, options=options).settings != Settings()


def test_all_problems_are_kept_and_the_message_counts_them(here):
    with pytest.raises(ConfigError, match=r"\(and 1 more\)$") as caught:
        load_here(here, "[node]\na = 1\nb = 2")
    assert 2 == len(caught.value.problems)


def test_a_configuration_error_is_invalid_input(here):
    with pytest.raises(Invalid) as caught:
        load_here(here, "x = 1")
    assert ("config_invalid", 4) == (caught.value.code, caught.value.exit_code)


def test_a_file_that_is_not_text_names_the_line(here):
    path = here / "etc" / "a.toml"
    path.write_bytes(b"# fine\n\xff\n")
    assert f"{path}:2: is not UTF-8" == error_of(here)


def test_a_named_file_that_does_not_exist_is_an_error(here):
    assert error_of(here, files=[here / "no.toml"]).startswith(f"{here}/no.toml: cannot be read")


def test_a_huge_file_is_refused_before_it_is_parsed(here):
    (here / "etc" / "a.toml").write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    assert "is larger than" in error_of(here)


def test_too_many_files_are_refused(here):
    for number in range(FILES_MAX + 1):
        (here / "etc" / f"{number}.toml").touch()
    assert "65 files are more than 64" in error_of(here)


def test_a_long_value_is_cut_in_the_message(here):
    message = error_of(here, f"[logging]\nlevel = '{'x' * 5000}'")
    assert "... (5002 characters); it must be" in message
    assert len(message) < 500
