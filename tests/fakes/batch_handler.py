"""Be a handler that takes its calls in batches, and does what their arguments say."""

import os
import time
from pathlib import Path

from remuda import current


class Work:
    """Answers each call with its value, the size of its batch and the process.

    A batch with "gate" in it says in the folder of the test that it runs, and waits there; it also
    says which of its calls are over.
    """

    def __call__(self, values):
        folder = Path(os.environ["BATCH_FOLDER"])
        if "poison" in values:
            with (folder / "poisoned").open("a") as file:
                file.write(f"{len(values)}\n")
            os.kill(os.getpid(), 9)
        print("all", len(values))
        for call, value in zip(current.batch, values, strict=True):
            with call:
                print("mine", value)
            call.progress(0.5, f"half of {value}")
        if "gate" in values:
            (folder / "begun").write_text(str(os.getpid()))
            (folder / "begun").rename(folder / "runs")  # whole from the moment it is there
            while not (folder / "open").exists():
                for call, value in zip(current.batch, values, strict=True):
                    if call.cancelled:
                        (folder / f"over-{value}").touch()
                time.sleep(0.01)
        said = {"together": len(values), "pid": os.getpid()}
        return [
            ValueError("this one") if value == "bad" else {"value": value, **said}
            for value in values
        ]
