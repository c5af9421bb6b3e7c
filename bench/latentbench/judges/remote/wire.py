"""What goes over the wire to an endpoint, and how much of what comes back is read.

The client library takes a good deal from the environment (organisation, administrator's key, headers, address, proxies), follows
redirects to other hosts, waits for each piece of a reply as long as for the whole, and unpacks whatever it is sent. Turning each
of these off where the client is made leaves those that its next release adds. So they are decided at the one place that every
call passes, below the client: which headers leave, for which host, for how long, and how many bytes are taken.

A proxy of the environment is used, because the environment is the user's own, but never for this machine. Redirects are not
followed at all: the host that is asked is the one that a key is bound to and a judge is known by.

A connection is kept for the next call, which saves a handshake for each, as long as nothing is left on it: what a server or proxy
says behind one answer would be read as the answer to the next question. So a connection is kept only where the parser says that
the answer was all there was, and closed where anybody doubts it; the library alone would keep it. Nor is one kept whose call
failed: where a call is given up between two of its steps, the library holds the place for ever, and there is one. A server may
close a kept connection just when the next call is sent. Such a call has had no answer and is sent again, once, on a new one.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import time
import urllib.request
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import httpx

from latentbench.judges.remote.address import OPENAI, Address
from latentbench.judges.remote.binding import Grant
from latentbench.judges.remote.reading import Malformed
from latentbench.kernel.errors import SpecError

OWN = frozenset({"accept", "connection", "content-length", "content-type", "host", "transfer-encoding", "user-agent"})
"""Headers of the client that leave this machine; all others of its own stay."""
PAYING = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
"""Who pays, at OpenAI alone."""
CHAT_MB, OTHER_MB = 4.0, 64.0
"""Largest bodies of responses: a chat of 100,000 tokens has about one, vectors and log-probabilities of a batch some tens."""
KEPT = 3.0
"""Seconds for which an idle connection is kept; servers close theirs after five or more."""
LEAST_KEY = 8
"""Characters from which a key is looked for in what comes back; a shorter one may be part of any word."""


class Refused(Malformed):
    """A response that is not read, and that would be the same once more."""


class Wire(httpx.AsyncBaseTransport):
    """Carries the calls of one endpoint.

    Args:
        grant: host and key.
        headers: of every request, beside the client's own.
        timeout: seconds from the connection to the last byte of the reply.
        most_mb: largest body of a response; see `CHAT_MB`.
    """

    def __init__(self, grant: Grant, headers: Mapping[str, str], timeout: float, most_mb: float | None) -> None:
        self._address, self._timeout, self._most_mb = grant.address, timeout, most_mb
        self._key = grant.key()
        self._headers = {**paying(grant.address), **headers, "Accept-Encoding": "gzip"}
        if self._key is not None:
            bearer = grant.header.lower() == "authorization"
            self._headers[grant.header] = f"Bearer {self._key}" if bearer else self._key
        self._quoted = _quoted(self._key) if self._key is not None and len(self._key) >= LEAST_KEY else None
        self._proxy = proxy_for(grant.address)
        # An address or a proxy that cannot be used is said when the client is made.
        self._idle = [(0.0, _connection(grant.address, self._proxy))]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and read the whole response within the limits.

        Raises:
            Refused: a redirect, or more than is read. httpx.ReadTimeout: not all was there in time.
        """
        if request.url not in self._address:
            raise Refused(f"a call to {request.url.host} was not sent: the endpoint is {self._address.host}")
        most = self._most_mb or (CHAT_MB if request.url.path.endswith("/chat/completions") else OTHER_MB)
        headers = [(k, v) for k, v in request.headers.multi_items() if k.lower() in OWN] + list(self._headers.items())
        sent = httpx.Request(
            request.method, request.url, headers=headers, stream=request.stream, extensions=request.extensions
        )
        connection = self._idle.pop()[1] if self._idle else _connection(self._address, self._proxy)
        try:
            async with asyncio.timeout(self._timeout):
                response = await _answered(sent, connection)
                try:
                    self._looked_at(response)
                    body = await _read(response, most)
                    if not _nothing_left(response):
                        await _hung_up(response)
                finally:
                    await response.aclose()
        except BaseException as e:
            with suppress(Exception):
                await connection.aclose()
            if isinstance(e, TimeoutError):
                raise httpx.ReadTimeout(f"no whole answer within {self._timeout:g} s", request=request) from e
            raise
        self._idle.append((time.monotonic(), connection))
        await self._drop_old()
        if self._quoted is not None:
            body = self._quoted.sub(b"***", body)
        kept = [
            (k, v)
            for k, v in response.headers.multi_items()
            if k not in ("content-encoding", "content-length", "transfer-encoding")
        ]
        return httpx.Response(
            response.status_code, headers=kept, content=body, extensions=response.extensions, request=request
        )

    async def aclose(self) -> None:
        """Close the connections."""
        while self._idle:
            await self._idle.pop()[1].aclose()

    async def _drop_old(self) -> None:
        """Close connections that have been idle for too long; the one that was used last lies on top."""
        before = time.monotonic() - KEPT
        while len(self._idle) > 1 and self._idle[0][0] < before:
            # A call that was answered does not fail because another one's connection cannot be closed.
            with suppress(Exception):
                await self._idle.pop(0)[1].aclose()

    def _looked_at(self, response: httpx.Response) -> None:
        """Refuse a response by its status.

        Raises:
            Refused: it sends the call elsewhere.
        """
        target = response.headers.get("location")
        if 300 <= response.status_code < 400 and target is not None:
            try:
                found = httpx.URL(self._address.url).join(target)
                where = found.netloc.decode("ascii", "replace").rpartition("@")[2][:100]
            except (httpx.InvalidURL, ValueError):
                where = "an address that is none"
            raise Refused(
                f"{response.status_code}: the endpoint redirects to {where}, which is not followed; "
                "if that is where the model is, name it in `base_url`"
            )


async def _answered(sent: httpx.Request, connection: httpx.AsyncHTTPTransport) -> httpx.Response:
    """The head of the answer. A kept connection that turns out to be closed is no failure of the call."""
    new = False

    async def traced(event: str, info: Mapping[str, Any]) -> None:
        nonlocal new
        new = new or event.startswith("connection.connect")

    sent.extensions = {**sent.extensions, "trace": traced}
    try:
        return await connection.handle_async_request(sent)
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
        if new:
            raise
        return await connection.handle_async_request(sent)


def _quoted(key: str) -> re.Pattern[bytes]:
    """A key as JSON may have it: any sign may stand as an escape, and many servers write `/` as one."""
    signs = (f"(?:\\\\?{re.escape(c)}|\\\\u00(?i:{ord(c):02x}))" for c in key)
    return re.compile("".join(signs).encode())


def paying(address: Address) -> dict[str, str]:
    """Headers that say who pays, from the environment; at OpenAI only, because nobody else can know what they mean."""
    if address.host != httpx.URL(OPENAI).host:
        return {}
    found = {header: (os.environ.get(name) or "").strip() for header, name in PAYING.items()}
    return {header: value for header, value in found.items() if value and value.isascii() and value.isprintable()}


def proxy_for(address: Address) -> str | None:
    """The proxy of the environment (`HTTPS_PROXY`, `NO_PROXY` ...) for an address; none for this machine."""
    if address.loopback or urllib.request.proxy_bypass(address.host):
        return None
    found = urllib.request.getproxies()
    proxy = found.get(address.scheme) or found.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _connection(address: Address, proxy: str | None) -> httpx.AsyncHTTPTransport:
    """A connection that is made when it is first used, and made anew where it was closed.

    Raises:
        SpecError: the proxy of the environment cannot be used.
    """
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEPT)
    try:
        through = None if proxy is None else httpx.Proxy(proxy)
        if through is not None and through.url.scheme == "https":
            through = httpx.Proxy(proxy or "", ssl_context=_trusted())
        return httpx.AsyncHTTPTransport(
            verify=_trusted() if address.scheme == "https" else _unused(), trust_env=False, limits=limits, proxy=through
        )
    except (ValueError, ImportError, httpx.InvalidURL) as e:
        raise SpecError(
            f"the proxy that the environment names for {address.host} cannot be used ({type(e).__name__}); set "
            f"{address.scheme.upper()}_PROXY to http://HOST:PORT, or NO_PROXY to the host."
        ) from e


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that connections are checked against: reading them takes 50 ms, once and not for every client."""
    return httpx.create_ssl_context()


@cache
def _unused() -> ssl.SSLContext:
    """What a connection without TLS is made with; the library would make one for each."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _read(response: httpx.Response, most_mb: float) -> bytes:
    """The body, unpacked.

    Raises:
        Refused: it is larger than that, packed or unpacked, or packed in a way that was not asked for.
    """
    most = int(most_mb * 1e6)
    named = response.headers.get("content-encoding", "").strip().lower()
    if named not in ("", "identity", "gzip", "x-gzip"):
        raise Refused(f"the response is packed as {named[:40]!r}, and only gzip was asked for")
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 15 or int(declared) > most):
        raise Refused(_too_large(most_mb))
    unpack = zlib.decompressobj(wbits=31) if "gzip" in named else None
    parts: list[bytes] = []
    taken = size = 0
    async for chunk in _stream(response):
        taken += len(chunk)
        if unpack is not None and chunk:
            try:
                chunk = unpack.decompress(chunk, most + 1 - size)
            except zlib.error as e:
                raise Malformed(f"the response is no gzip: {e}") from e
        size += len(chunk)
        if size > most or taken > most:
            raise Refused(_too_large(most_mb))
        parts.append(chunk)
    if unpack is not None and taken and not unpack.eof:
        raise Malformed("the response is cut off inside its gzip")
    return b"".join(parts)


def _nothing_left(response: httpx.Response) -> bool:
    """Whether the answer was all that its connection had to say, as far as it has been read.

    The parser knows, and the library does not ask it; where another release of the library hides it, nobody knows.
    """
    found: Any = response.stream
    for name in ("_httpcore_stream", "_stream", "_connection", "_h11_state"):
        found = getattr(found, name, None)
    return getattr(found, "trailing_data", None) == (b"", False)


async def _hung_up(response: httpx.Response) -> None:
    """Close the connection of an answer, so that it is not kept."""
    stream = response.extensions.get("network_stream")
    if stream is not None:
        await stream.aclose()


async def _stream(response: httpx.Response) -> AsyncIterator[bytes]:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for chunk in response.stream:
        yield chunk


def _too_large(most_mb: float) -> str:
    return f"the response is larger than {most_mb:g} MB (max_reply_mb)"
