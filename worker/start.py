"""The file by which a worker is started, in the user's interpreter: Python >= 3.9.

The worker's own code is always the runtime's, under the names `remuda.worker.*`; the public face
`remuda` is an installed one where there is one, also an editable one (a finder of its own), else
the runtime's small one: it is looked for last. `start/worker.py --check` tells whether an
interpreter can run it.
"""

import importlib.machinery
import importlib.util
import os
import sys


class _Last:
    """Finds what nobody else has found in one folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(
        self, name: str, path: object = None, _target: object = None
    ) -> "importlib.machinery.ModuleSpec | None":
        if path is not None:
            return None
        return importlib.machinery.PathFinder.find_spec(name, [self._folder])


def prepare() -> None:
    """Look into the runtime last of all, and load the worker package without its parent."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - as sys.path spells it
    if sys.path and sys.path[0] == here:
        del sys.path[0]
    root = os.path.dirname(here)  # noqa: PTH120 - as above
    sys.meta_path.append(_Last(root))
    folder = os.path.join(root, "remuda", "worker")  # noqa: PTH118 - as above
    spec = importlib.util.spec_from_file_location(
        "remuda.worker",
        os.path.join(folder, "__init__.py"),  # noqa: PTH118 - as above
        submodule_search_locations=[folder],
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["remuda.worker"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    prepare()
    if sys.argv[1] == "--check":
        from remuda.worker.check import main as check

        check()
    else:
        from remuda.worker.main import main

        main(sys.argv[1])
