"""Commands in two processes that work together, with the environment that torchrun gives them: one command after the
other, so that the libraries are imported once.
"""

import json
import os
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path


def in_two_processes(folder: Path, *commands: tuple) -> None:
    """Run these commands (their words, `models` or `evaluate` first); all have to succeed. folder: for the list."""
    file = folder / "commands.json"
    file.write_text(json.dumps([(_free_port(), list(map(str, words))) for words in commands]))
    shared = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(file)],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def main() -> None:
    for port, words in json.loads(Path(sys.argv[1]).read_text()):
        os.environ["MASTER_PORT"] = str(port)
        sys.argv = words
        try:
            import_module(f"clipmill.{words[0]}.cli").main()
        except SystemExit as ended:
            if ended.code:
                raise


if __name__ == "__main__":
    main()
