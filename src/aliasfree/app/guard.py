"""What every request passes first: host, password, a known address, the visitor's cookie, and a body within limits.

Gradio would ask other machines for files that a request names, keep what is never read, and take bodies of any size;
its login page slows nobody down who guesses.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import re
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse

from aliasfree.app import limits
from aliasfree.app.uploads import Quota
from aliasfree.app.visitors import Recent, is_token, new_token
from aliasfree.errors import ArgumentError

__all__ = ["Guard"]

WRONG_PASSWORD_SECONDS = 1.0
"""How long the answer to a wrong password takes. One guess is looked at at a time, whoever sends it."""
GUESSES = 32
"""Passwords that may wait to be looked at."""
ADMITTED = 256
"""Browsers that have given the password and do not wait behind those who guess."""
BODY_BYTES, NAME_CHARACTERS = 2**20, 4096
"""Of a request that is no upload, and of one text in it."""
UNREAD = 256
"""Answers of one loaded page that wait to be read."""

OPEN = re.compile(
    r"/(config|theme\.css|favicon\.ico|robots\.txt)?"
    r"|/(assets|static|svelte)/.+"
    r"|/gradio_api/(queue/(join|data)|cancel|reset|upload|upload_progress|startup-events|app_id|login_check)"
    r"|/gradio_api/heartbeat/\w{1,64}"
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


class _RefusedError(Exception):
    def __init__(self, status: int, words: str, **headers: str) -> None:
        super().__init__(words)
        self.answer = PlainTextResponse(f"{words}\n", status, headers)


class Guard:
    """An ASGI application around another.

    hosts     names in the Host header that are answered, so that a page elsewhere cannot reach a loopback address
              under a name of its own; None = any
    password  asked for by HTTP's Basic scheme, under any user's name; None = none
    cookie    the name of the visitor's cookie
    unread    how many answers of a loaded page, by its session, wait to be read
    """

    def __init__(
        self,
        app: Any,
        hosts: frozenset[str] | None,
        password: str | None,
        cookie: str,
        unread: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self.app, self.hosts, self.password, self.cookie, self.unread = app, hosts, password, cookie, unread
        self._quota = Quota()
        self._admitted = Recent(ADMITTED)
        self._guess, self._guesses = asyncio.Lock(), 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":
            return  # nothing here speaks websocket
        request = Request(scope, receive)
        token = request.cookies.get(self.cookie, "")
        fresh = None if is_token(token) else new_token()
        try:
            body = await self._pass(request, fresh or token, known=fresh is None)
        except _RefusedError as refused:
            await refused.answer(scope, receive, send)
            return

        async def again() -> Any:
            nonlocal body
            whole, body = body, None
            return await receive() if whole is None else {"type": "http.request", "body": whole, "more_body": False}

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                if fresh and request.url.path == "/":
                    said = f"{self.cookie}={fresh}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"
                    more.append((b"set-cookie", said.encode()))
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        await self.app(scope, again, answer)

    async def _pass(self, request: Request, token: str, known: bool) -> bytes | None:
        """The body of a request that is no upload. Raises what the request is answered instead."""
        path = request.scope["path"]
        if self.hosts is not None and _host(request.headers.get("host", "")) not in self.hosts:
            raise _RefusedError(421, "This server answers to its own address only.")
        if self.password is not None:
            await self._knock(self.password, request.headers.get("authorization"), token)
        if not OPEN.fullmatch(path) or "/proxy=" in path:
            raise _RefusedError(404, "There is no such page.")
        if request.method in ("GET", "HEAD"):
            return None
        if not known:
            raise _RefusedError(
                403, "The studio keeps visitors apart by a cookie; allow cookies and load the page again."
            )
        if path == "/gradio_api/upload":
            try:  # the server takes no more of a body than this says
                self._quota.take(token, int(request.headers.get("content-length", "")))
            except ArgumentError as error:
                raise _RefusedError(413, str(error)) from error
            except ValueError as error:
                raise _RefusedError(411, "An upload says its length.") from error
            return None
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES:
                raise _RefusedError(413, f"A request has at most {BODY_BYTES} bytes.")
        self._check(body, path)
        return body

    def _check(self, body: bytes, path: str) -> None:
        """No file is named but one that was sent: Gradio would ask another machine for an address."""
        try:
            content = json.loads(body) if body else {}
        except (ValueError, RecursionError) as error:
            raise _RefusedError(400, "The request is no JSON.") from error
        session = content.get("session_hash") if isinstance(content, dict) else None
        if session is not None and not (isinstance(session, str) and re.fullmatch(r"\w{1,64}", session, re.ASCII)):
            raise _RefusedError(400, "A session's name has up to 64 letters and digits.")
        if path == "/gradio_api/queue/join" and session and self.unread(session) >= UNREAD:
            raise _RefusedError(429, f"{UNREAD} answers wait to be read; load the page again.")
        left = [content]
        while left:
            part = left.pop()
            if isinstance(part, str) and len(part) > NAME_CHARACTERS:
                raise _RefusedError(413, f"A text has at most {NAME_CHARACTERS} characters.")
            if isinstance(part, dict):
                if "path" in part:
                    try:
                        limits.uploaded(part["path"])
                    except ArgumentError as error:
                        raise _RefusedError(400, str(error)) from error
                left += [*part, *part.values()]
            elif isinstance(part, list):
                left += part

    async def _knock(self, password: str, given: str | None, token: str) -> None:
        """Who guesses waits in one line, so that guessing in parallel is no faster; who is in does not wait."""
        asked = {"www-authenticate": 'Basic realm="aliasfree", charset="UTF-8"'}
        if given is None:
            raise _RefusedError(401, "The password, please.", **asked)
        if self._admitted.get(token) and _knows(password, given):
            return
        if self._guesses >= GUESSES:
            raise _RefusedError(429, "Too many passwords wait to be looked at; try again in a moment.")
        self._guesses += 1
        try:
            async with self._guess:
                if _knows(password, given):
                    self._admitted.put(token, True)
                    return
                await asyncio.sleep(WRONG_PASSWORD_SECONDS)
        finally:
            self._guesses -= 1
        raise _RefusedError(401, "The password, please.", **asked)


def _host(header: str) -> str:
    """ "[::1]:7860" -> "::1", "localhost:7860" -> "localhost"."""
    found = re.fullmatch(r"\[([^\]]+)\](:\d+)?|([^:]*)(:\d+)?", header)
    return "" if found is None else (found[1] or found[3] or "").lower()


def _knows(password: str, header: str) -> bool:
    scheme, _, encoded = header.partition(" ")
    try:
        _, colon, given = base64.b64decode(encoded, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    return scheme.lower() == "basic" and bool(colon) and hmac.compare_digest(given, password.encode())
