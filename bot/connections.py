"""HTTP under a deadline: verified TLS, no redirects, limited bodies, connections that are fresh."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import time
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import requests

from bot.deadline import close_when_given_up, refuse_if_late

MAX_IDLE_SECONDS = 30  # Function Compute freezes an idle instance, which then misses that the other side hung up
UNRECEIVED_MS = 10_000  # until a connection is given up whose other side acknowledges nothing
MAX_ANSWER_BYTES = 64 * 1024  # of DingTalk's and Function Compute's own answers; they take 30 to 1,000


class TooLarge(ValueError):
    """A body is longer than it may be; what comes after that is not read."""


@functools.lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Trusts the CAs that requests trusts, not the image's own, which may be old; made once, as it takes 30 ms."""
    return ssl.create_default_context(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)


def shut_down(connection: socket.socket) -> None:
    """End a connection for whoever waits for it in another thread, too; closing it would not wake him."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def watch(connection: socket.socket) -> None:
    """End this connection when its call is given up, or as soon as the other side does not even receive what is sent.

    TCP tells that apart from a model that thinks: its side acknowledges the question at once. So a connection that was
    kept, and is dead without anybody having said so, costs 10 s and a new try, and no question is paid twice.
    """
    close_when_given_up(functools.partial(shut_down, connection))
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNRECEIVED_MS)


def punctual(pool_class: Any) -> Any:
    """The same kind of connection pool, whose connections send nothing after the deadline, and end when given up."""

    class Connection(pool_class.ConnectionCls):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            refuse_if_late()
            close_when_given_up(functools.partial(shut_down, self.sock))

        def request(self, *args: Any, **kwargs: Any) -> None:
            refuse_if_late()
            if self.sock:  # it is a kept one
                close_when_given_up(functools.partial(shut_down, self.sock))
            super().request(*args, **kwargs)

    return type(pool_class.__name__, (pool_class,), {"ConnectionCls": Connection})


class VerifiedConnections(requests.adapters.HTTPAdapter):
    """Verifies certificates as requests does, without reading the CA bundle for every new connection; no redirects."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class."""
        super().init_poolmanager(*args, ssl_context=tls_context(), **kwargs)
        pools = self.poolmanager.pool_classes_by_scheme
        self.poolmanager.pool_classes_by_scheme = {scheme: punctual(pools[scheme]) for scheme in pools}

    def cert_verify(self, connections: Any, *args: Any) -> None:
        """That they be verified, but not against what bundle: the base class would have it read again."""
        connections.cert_reqs = "CERT_REQUIRED"

    def build_response(self, *args: Any) -> requests.Response:
        """As in the base class, without what a session would follow: another host is not to have what is sent here."""
        response = super().build_response(*args)
        response.headers.pop("Location", None)
        return response


class LimitedConnections(VerifiedConnections):
    """For a client that reads a body whole, however long it is."""

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As in the base class; TooLarge if the body is over MAX_ANSWER_BYTES."""
        response = super().send(*args, **kwargs)
        response._content = read_up_to(MAX_ANSWER_BYTES, response.iter_content(8192))
        return response


def post(
    connections: requests.adapters.HTTPAdapter,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout: tuple[float, float],
) -> tuple[requests.Response, bytes]:
    """The answer and its body; TooLarge if that is over MAX_ANSWER_BYTES. `timeout`: to connect, and for each read.

    By the adapter, without a session: no redirects, cookies, proxies or .netrc.
    """
    request = requests.Request("POST", url, headers=headers, data=body).prepare()
    with connections.send(request, timeout=timeout, stream=True) as answer:
        return answer, read_up_to(MAX_ANSWER_BYTES, answer.iter_content(8192))


def read_up_to(limit_bytes: int, chunks: Iterable[bytes]) -> bytes:
    """The chunks together; TooLarge if they are more than the limit."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > limit_bytes:
            raise TooLarge(f"more than {limit_bytes} bytes")
    return bytes(data)


def unpacked(data: bytes, limit_bytes: int) -> bytes:
    """What gzip or deflate made of a text; anything else as it is. TooLarge if it is over the limit."""
    for window_bits in (zlib.MAX_WBITS + 32, -zlib.MAX_WBITS):  # gzip or zlib by its first bytes; deflate without any
        unpack = zlib.decompressobj(window_bits)
        try:
            text = unpack.decompress(data, limit_bytes)
        except zlib.error:
            continue
        if unpack.unconsumed_tail:
            raise TooLarge(f"more than {limit_bytes} bytes")
        return text
    return data


class FreshConnections(VerifiedConnections):  # down here, because a class stands below its base
    """Keeps connections between requests, but uses none again after MAX_IDLE_SECONDS without use."""

    used_at = 0.0

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As in the base class."""
        if time.time() - self.used_at > MAX_IDLE_SECONDS:
            self.close()
        try:
            return super().send(*args, **kwargs)
        finally:
            self.used_at = time.time()
