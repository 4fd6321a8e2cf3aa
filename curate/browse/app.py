"""The page's requests, and what answers each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from clipmill.curate.browse import answers
from clipmill.curate.browse.clips import Clips
from clipmill.curate.browse.media import Bytes, Media, asked_range
from clipmill.curate.browse.review import estimate
from clipmill.curate.browse.saving import save_policy
from clipmill.curate.browse.stills import Stills
from clipmill.curate.common.files import parse_json
from clipmill.curate.contract.annotator import ROLES
from clipmill.curate.errors import UserError
from clipmill.curate.policy.by_hand import Word

_HERE = Path(__file__).parent
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MOST_BODY = 1 << 20
_YEAR = "private, max-age=31536000, immutable"  # a clip's pictures never change: its id is made of what it holds


class Desk:
    """Answers for one run. who: the user's name, for decisions by hand."""

    def __init__(self, clips: Clips, media: Media, stills: Stills, who: str) -> None:
        self._clips, self._media, self._stills, self._who = clips, media, stills, who

    def app(self) -> Starlette:
        """The ASGI application; `guard.Guard` stands around it."""
        routes = [
            Route("/", self.file("page.html")),
            *(
                Route(f"/{path.name}", self.file(path.name))
                for path in sorted(_HERE.iterdir())
                if path.suffix in _KINDS
            ),
            Route("/api/run", self.run),
            Route("/api/clips", self.clips),
            Route("/api/facets", self.facets),
            Route("/api/histogram", self.histogram),
            Route("/api/clip/{clip}", self.clip),
            Route("/api/decide", self.decide, methods=["POST"]),
            Route("/api/review", self.review),
            Route("/api/policy", self.policy, methods=["POST"]),
            Route("/media/{clip}", self.video),
            Route("/still/{clip}/{role}", self.still),
        ]
        return Starlette(routes=routes, exception_handlers={UserError: _told, HTTPException: _told})

    def file(self, name: str) -> Callable[[Request], Response]:
        """A file of the page itself."""

        def answer(request: Request) -> Response:
            path = _HERE / name
            return FileResponse(path, media_type=_KINDS[path.suffix], headers={"Cache-Control": "no-cache"})

        return answer

    def run(self, request: Request) -> Response:
        """What the page knows before it asks for clips."""
        self._clips.refresh()
        return _json(answers.run_facts(self._clips, self._who))

    def clips(self, request: Request) -> Response:
        """One page of a view."""
        self._clips.refresh()
        return _json(answers.page(self._clips, request.query_params.multi_items()))

    def facets(self, request: Request) -> Response:
        """Counts of a view: outcomes, filters, splits, decisions by hand."""
        return _json(answers.facets(self._clips, request.query_params.multi_items()))

    def histogram(self, request: Request) -> Response:
        """One column of a view."""
        return _json(answers.histogram(self._clips, request.query_params.multi_items()))

    def review(self, request: Request) -> Response:
        """How right the filters are on a random sample."""
        return _json(estimate(self._clips, request.query_params.multi_items()))

    def clip(self, request: Request) -> Response:
        """All that is known of a clip."""
        return _json(answers.clip(self._clips, request.path_params["clip"], request.query_params.multi_items()))

    async def decide(self, request: Request) -> Response:
        """Words on clips by hand; answers with what holds now."""
        from starlette.concurrency import run_in_threadpool

        rows = (await _body(request)).get("words")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError("words: a list of {clip_id, verdict, note, caption}")
        words = [replace(_word(row), who=self._who) for row in rows]
        await run_in_threadpool(answers.check_known, self._clips, [word.clip_id for word in words])
        await run_in_threadpool(self._clips.say, words)
        return _json({"words": answers.words_of(self._clips, [word.clip_id for word in words])})

    async def policy(self, request: Request) -> Response:
        """Save the moved thresholds of the address as a policy of the run; another one goes on deciding it."""
        from starlette.concurrency import run_in_threadpool

        name = (await _body(request)).get("name")
        if not isinstance(name, str):
            raise UserError("name: a text")
        asked = request.query_params.multi_items()
        return _json(await run_in_threadpool(save_policy, self._clips, name, asked))

    def video(self, request: Request) -> Response:
        """The clip's bytes, or a range of them."""
        found = self._media.of(self._clips.one(request.path_params["clip"]))
        return _ranged(found, request.headers.get("range"))

    def still(self, request: Request) -> Response:
        """A stored picture."""
        clip, role = self._clips.one(request.path_params["clip"]), request.path_params["role"]
        jpeg = self._stills.of(clip["video_id"], clip["clip_id"], role) if role in ROLES else None
        if jpeg is None:
            raise HTTPException(404, "no stored picture")
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": _YEAR})


def _ranged(found: Bytes, header: str | None) -> Response:
    asked = asked_range(header, found.size)
    start, end = asked or (0, found.size)
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(end - start), "Cache-Control": "private, max-age=3600"}
    if asked:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
    return StreamingResponse(found.read(start, end), 206 if asked else 200, headers, "video/mp4")


async def _body(request: Request) -> dict[str, Any]:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise HTTPException(415, "JSON, please")
    body = await request.body()
    try:
        value = parse_json(body) if len(body) <= _MOST_BODY else None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise HTTPException(400, "a JSON object of up to 1 MB, please")
    return value


def _word(row: dict[str, Any]) -> Word:
    texts = {name: row.get(name) for name in ("clip_id", "verdict", "note", "caption")}
    if not isinstance(texts["clip_id"], str) or any(v is not None and not isinstance(v, str) for v in texts.values()):
        raise UserError("clip_id, verdict, note and caption are texts")
    verdict, note, caption = ((texts[name] or "").strip() or None for name in ("verdict", "note", "caption"))
    return Word(texts["clip_id"], verdict, note, caption)


def _json(value: Any) -> Response:
    return JSONResponse(value, headers={"Cache-Control": "no-store"})


def _told(request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 400
    words = error.detail if isinstance(error, HTTPException) else str(error)
    return JSONResponse({"error": words}, code)
