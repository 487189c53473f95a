"""The page over HTTP, for this machine alone.

Who reads the page could read images of people and write a file, so that it is kept from everybody else:

- the server listens on 127.0.0.1;
- every address begins with a random token, which another user of the machine does not know;
- a request must name this server as its host, so that a name that leads to 127.0.0.1 is of no use to a web site
  (DNS rebinding), and must come from its own page, where the browser tells where it comes from;
- the page loads nothing from elsewhere (Content-Security-Policy), and no other page may show it.
"""

import asyncio
import secrets
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hmopt.errors import HmoptError
from hmopt.files import one_line
from hmopt.tuner.session import Asked, Kept, Tuner

PAGE = files("hmopt.tuner") / "page"
FILES = {
    "": ("index.html", "text/html"),
    "tuner.js": ("tuner.js", "text/javascript"),
    "tuner.css": ("tuner.css", "text/css"),
}
"""By the end of their address: the files of the page, and their types."""

MOST_BYTES = 2**16
"""Of what a page sends, at most."""

OWN_SITE = ("same-origin", "none")
"""What a browser says of a request of the page itself, or of an address that was typed (Sec-Fetch-Site)."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

CANCELLED = 204
"""Status of an answer that a newer question made superfluous."""


def new_token() -> str:
    """Return a random token, of 192 bits.

    Examples
    --------
    >>> len(new_token())
    32
    """
    return secrets.token_urlsafe(24)


def make_app(tuner: Tuner, token: str, port: int) -> FastAPI:
    """Return the application that answers for a tuner.

    Parameters
    ----------
    tuner
        What answers.
    token
        What every address begins with.
    port
        Where it listens, which is a part of its name.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(OwnPageOnly, token=token, port=port)

    @app.exception_handler(HmoptError)
    async def refuse(request: Request, error: HmoptError) -> Response:
        return _refused(one_line(error), 400)

    @app.exception_handler(OSError)
    async def fail(request: Request, error: OSError) -> Response:
        return _refused(one_line(error), 500)

    @app.exception_handler(RequestValidationError)
    async def refuse_form(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "request"
        return _refused(f"{place}: {first['msg']}.", 422)

    for address in FILES:
        app.add_api_route(f"/{token}/{address}", _file_route(address), methods=["GET"])

    @app.get(f"/{token}/facts")
    async def facts() -> Response:
        return JSONResponse(tuner.facts())

    @app.post(f"/{token}/answer")
    async def answer(asked: Asked) -> Response:
        future = await asyncio.to_thread(tuner.ask, asked)
        try:
            found = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.cancelled():  # the server ends
                raise
            return Response(status_code=CANCELLED)
        return Response(found.encoded(), media_type="application/octet-stream")

    @app.post(f"/{token}/keep")
    async def keep(kept: Kept) -> Response:
        return JSONResponse(await asyncio.to_thread(tuner.keep, kept.setting))

    return app


def _file_route(address: str) -> Any:
    name, media_type = FILES[address]

    async def page_file() -> Response:
        return Response((PAGE / name).read_bytes(), media_type=media_type)

    return page_file


def _refused(message: str, status: int) -> Response:
    return JSONResponse({"error": message}, status_code=status)


class OwnPageOnly:
    """Refuses requests that do not come from the page itself, and adds the headers that protect it.

    Parameters
    ----------
    app
        What answers the others.
    token
        What every address begins with.
    port
        Where the server listens.
    """

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app = app
        self._token = token
        self._hosts = tuple(f"{name}:{port}" for name in ("127.0.0.1", "localhost"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        reason = refusal(headers, self._hosts) or self._wrong_token(scope["path"])

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if reason is not None:
            await PlainTextResponse(f"{reason}\n", status_code=403)(scope, receive, protected)
        elif int(headers.get("content-length") or 0) > MOST_BYTES:
            await PlainTextResponse("too large\n", status_code=413)(scope, receive, protected)
        else:
            await self._app(scope, receive, protected)

    def _wrong_token(self, path: str) -> str | None:
        given = path.split("/")[1]
        if secrets.compare_digest(given.encode(), self._token.encode()):
            return None
        return "token: expected that of the address that `hmopt tune` printed. Open that address."


def refusal(headers: Headers, hosts: Sequence[str]) -> str | None:
    """Return why a request is refused; None where its host and its origin are this server.

    Parameters
    ----------
    headers
        Of the request.
    hosts
        Names of this server, with its port.

    Examples
    --------
    >>> refusal(Headers({"host": "127.0.0.1:8000"}), ["127.0.0.1:8000"])
    >>> refusal(Headers({"host": "example.org"}), ["127.0.0.1:8000"])
    'host: expected 127.0.0.1:8000. Open the address that `hmopt tune` printed.'
    """
    host = headers.get("host", "")
    if host not in hosts:
        return f"host: expected {hosts[0]}. Open the address that `hmopt tune` printed."
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return "origin: expected the page itself."
    # a link to the page may stand anywhere: who follows it leaves that place
    is_followed = headers.get("sec-fetch-mode") == "navigate"
    site = headers.get("sec-fetch-site", "none")
    return None if is_followed or site in OWN_SITE else "origin: expected the page itself."
