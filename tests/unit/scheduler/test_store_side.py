"""What does the scheduler say of the store beside it?"""

from pathlib import Path
from typing import Any

from remuda.config.home import Home
from remuda.config.settings_scheduler import SchedulerSettings
from remuda.config.store_home import port_file, write_store_port
from remuda.scheduler.store_side import StoreSide

NOBODY: Any = None


def side(tmp_path: Path, port: int) -> StoreSide:
    home = Home(tmp_path)
    home.run_dir.mkdir(parents=True)
    usual = SchedulerSettings(port=port).store_port
    return StoreSide(home, NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, usual)


def test_a_node_that_comes_before_the_store_is_told_where_it_will_be(tmp_path: Path) -> None:
    store = side(tmp_path, 7700)
    assert (0, 7704) == (store.port(), store.port_to_come())


def test_where_the_store_is_counts_more_than_where_it_usually_is(tmp_path: Path) -> None:
    store = side(tmp_path, 7700)
    write_store_port(port_file(store.home), 7999)
    assert (7999, 7999) == (store.port(), store.port_to_come())


def test_of_a_store_on_a_free_port_nobody_knows_before_it_is_there(tmp_path: Path) -> None:
    assert 0 == side(tmp_path, 0).port_to_come()
