"""The page of `curate browse`, served from a thread of the test's process, and asked over HTTP."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn

from clipmill.curate.browse import guarded_app
from clipmill.curate.browse.clips import Clips

TOKEN = "the-key-of-this-page"


class Browsed:
    """A page that is being served."""

    def __init__(self, port: int, clips: Clips) -> None:
        self.port, self.clips = port, clips
        self.address = f"http://127.0.0.1:{port}/?token={TOKEN}"
        self.cookie = f"clipmill_{port}={TOKEN}"

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str):
        """The answer, with `data`. Headers are those of the page itself unless they are given."""
        own = {"Cookie": self.cookie, "Host": f"127.0.0.1:{self.port}"} | headers
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        for name, value in own.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.data = answer.read()
        connection.close()
        return answer

    def json(self, path: str, **query: Any) -> Any:
        """The value at a path of the API."""
        answer = self.ask(f"{path}?{urlencode(query, doseq=True)}")
        assert answer.status == 200, answer.data
        return json.loads(answer.data)

    def send(self, path: str, value: Any, **headers: str):
        """POST, as the page does."""
        own = {"Content_Type": "application/json", "Origin": f"http://127.0.0.1:{self.port}"} | headers
        return self.ask(path, "POST", json.dumps(value).encode(), **own)


@contextmanager
def browsed(run: Path, folder: Path) -> Iterator[Browsed]:
    """Serve a run's page. folder: for what is made on demand."""
    clips = Clips(run)
    clips.wait()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        app = guarded_app(clips, folder, TOKEN, port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield Browsed(port, clips)
        server.should_exit = True
        thread.join(10)
