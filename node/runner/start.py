"""The file by which a runner is started: `python -I -S start/runner.py DIRECTORY`."""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - pathlib costs start time
    from remuda.node.runner.main import main

    main()
