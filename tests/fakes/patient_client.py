"""Be a program that waits for one task: prints its id, then what became of it."""

import sys

from remuda import Client, RemudaError


def main(home: str, release: str) -> None:
    with Client(home) as cluster:
        task = cluster.submit_command(
            ["sh", "-c", f"while [ ! -e {release} ]; do sleep 0.05; done"]
        )
        print(task.id, flush=True)
        try:
            print(task.result().returncode, flush=True)
        except RemudaError as error:
            print(error.code, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
