"""A real HTTP server on loopback that speaks OpenAI's chat endpoint, well or badly, by a plan."""

import base64
import hashlib
import json
import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

GOOD = "good"


class CaptionServer(ThreadingHTTPServer):
    """plan: for the i-th question (told apart by what is asked), what its tries get, one after the other; the last
    holds for all that follow, and questions beyond the plan get good answers. actions: good, garbage, empty, blank,
    refuse, 429, 400, 500, hang, drop, drip, cut, open, moved.
    asked: question -> actions served. problems: what was wrong with requests. at_once: the most requests that waited
    for an answer at the same time.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, plan=(), key=None, delay_s=0.0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.key, self.delay_s = list(plan), key, delay_s
        self.asked, self.times_s, self.problems, self.contents = defaultdict(list), [], [], {}
        self.retry_after, self.released = "0.2", threading.Event()
        self.lock, self.now, self.at_once = threading.Lock(), 0, 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def counts(self):
        """action -> how often it was served."""
        return Counter(action for actions in self.asked.values() for action in actions)

    def action(self, question):
        with self.lock:
            self.times_s.append(time.monotonic())
            place = list(self.asked).index(question) if question in self.asked else len(self.asked)
            steps = self.plan[place] if place < len(self.plan) else [GOOD]
            found = steps[min(len(self.asked[question]), len(steps) - 1)]
            self.asked[question].append(found)
            return found

    def busy(self, change):
        with self.lock:
            self.now += change
            self.at_once = max(self.at_once, self.now)

    def handle_error(self, request, client_address):
        """Clients that give up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: CaptionServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Nothing on stderr."""

    def do_GET(self):
        if not self._allowed():
            return self._json(401, {"error": {"message": "no key"}})
        return self._json(200, {"data": [{"id": "tiny-vlm"}]}) if self.path == "/v1/models" else self._json(404, {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            # as some servers do: the key in the answer
            return self._json(401, {"error": {"message": f"bad key {self.headers.get('Authorization')}"}})
        content = body["messages"][0]["content"]
        question = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        self.server.problems += problems(self.path, body)
        self.server.contents[question] = content
        # Only as long as the client must wait: once it has its answer, its next question may come before this thread
        # goes on.
        self.server.busy(1)
        time.sleep(self.server.delay_s)
        self.server.busy(-1)
        return getattr(self, f"_{self.server.action(question)}")(question)

    def _allowed(self):
        return self.server.key is None or self.headers.get("Authorization") == f"Bearer {self.server.key}"

    def _json(self, status, tree, headers=()):
        self._bytes(status, json.dumps(tree).encode(), headers)

    def _bytes(self, status, data, headers=(), sent=None):
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(data))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:sent])
        self.wfile.flush()
        if sent is not None:
            self.close_connection = True

    def _answer(self, content, reason="stop"):
        return {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": reason}]
        }

    def _good(self, question):
        self._json(200, self._answer(answer_to(question)))

    def _garbage(self, question):
        self._bytes(200, b"<html><body>Bad gateway</body></html>")

    def _empty(self, question):
        self._json(200, {"choices": []})

    def _blank(self, question):
        self._json(200, self._answer("  "))

    def _refuse(self, question):
        self._json(200, self._answer("I'm sorry, I can't help with that."))

    def _cut(self, question):
        self._json(200, self._answer("A man walks along the beach. He carries a", "length"))

    def _open(self, question):
        self._json(200, self._answer("A man walks along the beach. He carries a bag"))

    def _429(self, question):
        self._json(429, {"error": {"message": "slow down"}}, [("Retry-After", self.server.retry_after)])

    def _400(self, question):
        self._json(400, {"error": {"message": "context too long"}})

    def _500(self, question):
        self._bytes(500, b"Internal Server Error")

    def _hang(self, question):
        self.server.released.wait(30)
        self.close_connection = True

    def _drip(self, question):
        """A byte now and then: no read takes long, the whole takes for ever."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        while not self.server.released.wait(0.1):
            self.wfile.write(b" ")
            self.wfile.flush()
        self.close_connection = True

    def _moved(self, question):
        self._bytes(302, b"", [("Location", f"{self.server.url}/models")])

    def _drop(self, question):
        data = json.dumps(self._answer(answer_to(question))).encode()
        self._bytes(200, data, sent=len(data) // 2)


def answer_to(question):
    """The good answer, another for every question."""
    return f"The video shows number {question[:12]} moving across the picture."


def caption_of(question):
    """The good answer, cleaned."""
    return f"Number {question[:12]} moving across the picture."


def problems(path, body):
    """What is wrong with a request, in words."""
    found = [] if path == "/v1/chat/completions" else [path]
    found += [key for key in ("model", "max_tokens", "temperature", "seed") if key not in body]
    content = body["messages"][0]["content"]
    for part in content if isinstance(content, list) else []:
        if part["type"] == "image_url":
            start, _, data = part["image_url"]["url"].partition(",")
            raw = np.frombuffer(base64.b64decode(data, validate=True), np.uint8)
            picture = cv2.imdecode(raw, cv2.IMREAD_COLOR)
            if (
                start != "data:image/jpeg;base64"
                or raw[:2].tolist() != [0xFF, 0xD8]
                or picture is None
                or picture.std() == 0
            ):
                found.append("not a JPEG")
        elif part["type"] != "text" or not part["text"]:
            found.append(str(part)[:80])
    return found


@contextmanager
def serving(plan=(), **settings):
    """A running `CaptionServer`."""
    server = CaptionServer(plan, **settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
