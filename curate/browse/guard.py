"""Who may talk to the page: the person who was given the address, from this machine, through the page itself.

Other programs' pages can send requests to 127.0.0.1, and can make a name of theirs point there. So every request needs
the cookie that the address's token was exchanged for (another site's requests do not carry it: SameSite=Strict), the
host by which the page was opened, and, where the browser says where a request comes from, the page itself.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, Response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_SAFE = ("GET", "HEAD")
App = Callable[[Any, Any, Any], Awaitable[None]]


class Guard:
    """An ASGI application around another one. token: of the address. port: on which it is served, part of host and
    cookie, because cookies know no ports.
    """

    def __init__(self, app: App, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self._cookie = f"clipmill_{port}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 403, with the reason, or hand the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        query = QueryParams(scope["query_string"])
        is_visit = scope["path"] == "/" and self._is_token(query.get("token", ""))
        reason = self._refusal(scope["method"], Headers(scope=scope), is_visit)
        headers = dict(_HEADERS)
        if is_visit:
            headers["Set-Cookie"] = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        if reason:
            await _with(PlainTextResponse(reason, 403), _HEADERS)(scope, receive, send)
            return
        await self._app(scope, receive, _adding(send, headers))

    def _refusal(self, method: str, headers: Mapping[str, str], is_visit: bool) -> str:
        """Why the request is refused; "" where it is not."""
        host = headers.get("host", "")
        if host not in self._hosts:
            return "this page answers to 127.0.0.1 alone"
        origin = headers.get("origin")
        if origin not in (None, f"http://{host}") or (origin is None and method not in _SAFE):
            return "commands are taken from the page itself alone"
        if not is_visit and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return "this page answers to itself alone"
        if not is_visit and not self._is_token(cookie_parser(headers.get("cookie", "")).get(self._cookie, "")):
            return "open the address that `curate browse` printed: it holds the key to this page"
        return ""

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())


def _with(response: Response, headers: Mapping[str, str]) -> Response:
    response.headers.update(headers)
    return response


def _adding(send: Any, headers: Mapping[str, str]) -> Any:
    added = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def send_with(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return send_with
