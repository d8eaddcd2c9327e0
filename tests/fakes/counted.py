"""Be work that leaves one line each time it is done."""

import time
from pathlib import Path


def work(folder, number, seconds=0.0):
    """Do the work of one number."""
    with (Path(folder) / str(number)).open("a") as file:
        file.write("done\n")
    time.sleep(seconds)
    return number
