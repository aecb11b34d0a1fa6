"""What every request passes first: the right host, the password, a known address, and the visitor's cookie."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
from http.cookies import CookieError, SimpleCookie
from typing import Any

from aliasfree.app.visitors import is_token, new_token

__all__ = ["Guard", "cookie_of"]

WRONG_PASSWORD_SECONDS = 1.0
"""How long the answer to a wrong password takes."""

OPEN = re.compile(
    r"/(config|theme\.css|favicon\.ico|robots\.txt)?"
    r"|/(assets|static|svelte)/.+"
    r"|/gradio_api/(queue/(join|data)|cancel|reset|upload|upload_progress|startup-events|app_id|login_check)"
    r"|/gradio_api/heartbeat/\w+"
    r"|/gradio_api/file=.+"
)
"""What the page itself asks for. All else that Gradio would answer (other servers' files, its API, components' own
functions) is not there."""

POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; manifest-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
)
"""The browser itself asks no other machine, whatever a page may hold."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """An ASGI application around another.

    hosts     names in the Host header that are answered, so that a page elsewhere cannot reach a loopback address
              under a name of its own; None = any
    password  asked for by HTTP's Basic scheme, under any user's name; None = none
    cookie    the name of the visitor's cookie
    """

    def __init__(self, app: Any, hosts: frozenset[str] | None, password: str | None, cookie: str) -> None:
        self.app, self.hosts, self.password, self.cookie = app, hosts, password, cookie

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # nothing here speaks websocket
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self.hosts is not None and _host(headers.get("host", "")) not in self.hosts:
            await _say(send, 421, "This server answers to its own address only.")
            return
        if self.password is not None and not _knows(self.password, headers.get("authorization", "")):
            await asyncio.sleep(WRONG_PASSWORD_SECONDS if "authorization" in headers else 0)
            asked = [(b"www-authenticate", b'Basic realm="aliasfree", charset="UTF-8"')]
            await _say(send, 401, "The password, please.", asked)
            return
        path = scope["path"]
        if not OPEN.fullmatch(path) or "/proxy=" in path:
            await _say(send, 404, "There is no such page.")
            return
        known = is_token(cookie_of(headers.get("cookie", ""), self.cookie))
        if scope["method"] == "POST" and not known:
            await _say(send, 403, "The studio keeps visitors apart by a cookie; allow cookies and load the page again.")
            return
        fresh = None if known else f"{self.cookie}={new_token()}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                more += [(b"set-cookie", fresh.encode())] if fresh and path == "/" else []
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        await self.app(scope, receive, answer)


def cookie_of(header: str, name: str) -> str | None:
    """The value of a cookie in a Cookie header."""
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return None if found is None else found.value


def _host(header: str) -> str:
    """ "[::1]:7860" -> "::1", "localhost:7860" -> "localhost"."""
    found = re.fullmatch(r"\[([^\]]+)\](:\d+)?|([^:]*)(:\d+)?", header)
    return "" if found is None else (found[1] or found[3] or "").lower()


def _knows(password: str, header: str) -> bool:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        _, colon, given = base64.b64decode(encoded, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    return bool(colon) and hmac.compare_digest(given, password.encode())


async def _say(send: Any, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    plain = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [plain, *(headers or [])]})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})
