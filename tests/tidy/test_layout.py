"""Do the packaging map, the links for editors and the folders on disk tell the same story?"""

import ast
import tomllib

from . import house


def setuptools_table() -> dict[str, object]:
    text = (house.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table: dict[str, object] = tomllib.loads(text)["tool"]["setuptools"]
    return table


def packaged_folders() -> dict[str, str]:
    mapping = setuptools_table()["package-dir"]
    assert isinstance(mapping, dict)
    return {name.removeprefix("remuda."): folder for name, folder in mapping.items()}


def test_the_map_names_every_top_level_package_and_no_other() -> None:
    expected = {"remuda": "src/remuda", **{name: name for name in house.PACKAGES}}
    assert expected == packaged_folders()
    on_disk = {path.parent.name for path in house.ROOT.glob("*/__init__.py")}
    assert set(house.PACKAGES) == on_disk - {"tests"}


def test_each_folder_has_a_relative_link_in_src() -> None:
    face = house.ROOT / "src" / "remuda"
    links = {path.name: str(path.readlink()) for path in face.iterdir() if path.is_symlink()}
    assert {name: f"../../{name}" for name in house.PACKAGES} == links


def test_every_package_on_disk_is_listed_for_the_wheel() -> None:
    folders = {path.parent for path in house.package_files() if path.name == "__init__.py"}
    expected = {
        "remuda." + ".".join(folder.parts) for folder in folders if folder.parts[0] != "src"
    }
    listed = setuptools_table()["packages"]
    assert isinstance(listed, list)
    assert {"remuda", *expected} == set(listed)


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in house.package_files()}
    bare = [
        str(path) for path in sorted(folders) if not (house.ROOT / path / "__init__.py").is_file()
    ]
    assert [] == bare


def test_every_file_says_in_its_docstring_what_it_answers() -> None:
    silent = [str(path) for path in house.all_files() if not ast.get_docstring(house.tree_of(path))]
    assert [] == silent


def test_no_file_is_named_after_nothing() -> None:
    vague = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py", "manager.py"}
    assert [] == [str(path) for path in house.all_files() if path.name in vague]
