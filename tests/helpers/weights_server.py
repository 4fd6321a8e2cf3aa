"""A real HTTP server on loopback that publishes weight files, well or badly."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class WeightsServer(ThreadingHTTPServer):
    """files: path -> bytes. cuts: how many bytes the next answers send before the connection drops, None for all of
    them.
    redirects: path -> address. statuses: of the next answers to GET, instead of what was asked for.
    ranges: whether `Range` is honoured. log: (method, path, Range or None). sent_bytes: of bodies, in all.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cuts, self.ranges, self.log, self.sent_bytes = {}, [], True, [], 0
        self.statuses, self.redirects = [], {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Dropped connections are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: WeightsServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Nothing on stderr."""

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        path, wanted = unquote(self.path.partition("?")[0]), self.headers.get("Range")
        self.server.log.append((self.command, path, wanted))
        if path in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[path])
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if body and self.server.statuses:
            self.send_response(self.server.statuses.pop(0))
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if path.startswith("/api/models/"):
            return self._json(self._listing(path), body)
        data = self.server.files.get(path)
        if data is None:
            self.send_response(404)
            for name, value in (
                ("X-Error-Code", "EntryNotFound"),
                ("X-Repo-Commit", "a" * 40),
                ("Content-Length", "0"),
            ):
                self.send_header(name, value)
            return self.end_headers()
        return self._file(data, wanted, body)

    def _file(self, data, wanted, body):
        label = f'"{hashlib.sha256(data).hexdigest()}"'
        start = (
            int(wanted[6:].split("-")[0])
            if wanted and self.server.ranges and self.headers.get("If-Range", label) == label
            else 0
        )
        if start >= len(data) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        for name, value in (("ETag", label), ("X-Repo-Commit", "a" * 40), ("Content-Length", str(len(data) - start))):
            self.send_header(name, value)
        self.end_headers()
        return self._send(data[start:]) if body else None

    def _send(self, data):
        limit = self.server.cuts.pop(0) if self.server.cuts else None
        self.server.sent_bytes += len(data[:limit])
        self.wfile.write(data[:limit])
        if limit is not None:
            self.close_connection = True

    def _listing(self, path):
        """The hub's list of a repository: `/api/models/OWNER/NAME/revision/main` or its `tree`."""
        repository = "/".join(path.split("/")[3:5])
        prefix = f"/{repository}/resolve/{'a' * 40}/"
        files = {name.removeprefix(prefix): data for name, data in self.server.files.items() if name.startswith(prefix)}
        if "/tree/" in path:
            return [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in files.items()]
        return {
            "id": repository,
            "sha": "a" * 40,
            "siblings": [{"rfilename": name} for name in files],
            "private": False,
        }

    def _json(self, tree, body):
        data = json.dumps(tree).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        return self.wfile.write(data) if body else None


@contextmanager
def serving():
    """A running `WeightsServer`."""
    server = WeightsServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
