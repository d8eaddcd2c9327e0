"""The file by which a worker is started, in the user's interpreter: Python >= 3.9.

The worker's own code is always the runtime's, under the names `remuda.worker.*`; the public face
`remuda` is an installed one where there is one, else the runtime's small one, which comes last on
`sys.path`.
"""

import importlib.util
import os
import sys


def prepare() -> None:
    """Put the runtime last on the path, and load the worker package without its parent."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - as sys.path spells it
    if sys.path and sys.path[0] == here:
        del sys.path[0]
    root = os.path.dirname(here)  # noqa: PTH120 - as above
    sys.path.append(root)
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
    from remuda.worker.main import main

    main(sys.argv[1])
