"""HTTP under a deadline: verified TLS, no redirects, limited bodies, connections that are fresh."""

import concurrent.futures
import contextlib
import functools
import socket
import ssl
import time
import zlib
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import requests

from bot.deadline import call_until, close_when_given_up, refuse_if_late

MAX_IDLE_SECONDS = 30  # Function Compute freezes an idle instance, which then misses that the other side hung up
UNRECEIVED_MS = 10_000  # until a connection is given up whose other side acknowledges nothing
CONNECT_SECONDS = 3  # to one address, at most; a host may have several
MAX_ANSWER_BYTES = 64 * 1024  # of DingTalk's and Function Compute's own answers; they take 30 to 1,000


class TooLarge(ValueError):
    """A body is longer than it may be; what comes after that is not read."""


# What exchange raises: TooLarge is a ValueError, and so is what urllib3 says of a time-out when time is up.
NO_ANSWER = (requests.RequestException, concurrent.futures.TimeoutError, ValueError)


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
    with contextlib.suppress(AttributeError):  # only Linux has it
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNRECEIVED_MS)


class FreshConnections(requests.adapters.HTTPAdapter):
    """Connections that verify certificates, send nothing after the deadline, and end when their call is given up.

    They are kept between requests, but none is used again after MAX_IDLE_SECONDS without use. No redirects.
    """

    used_at = 0.0

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class, without reading the CA bundle for every new connection."""
        super().init_poolmanager(*args, ssl_context=tls_context(), **kwargs)
        pools = self.poolmanager.pool_classes_by_scheme
        self.poolmanager.pool_classes_by_scheme = {scheme: self.punctual(pools[scheme]) for scheme in pools}

    def punctual(self, pool_class: Any) -> Any:
        """The same kind of connection pool, with connections of this kind."""
        check = self.check

        class Connection(pool_class.ConnectionCls):  # type: ignore[misc]
            def _new_conn(self) -> socket.socket:
                connected: socket.socket = super()._new_conn()
                check(connected)  # before TLS
                return connected

            def request(self, *args: Any, **kwargs: Any) -> None:
                if not self.sock:  # http connects only now
                    self.connect()
                refuse_if_late()
                close_when_given_up(functools.partial(shut_down, self.sock))
                super().request(*args, **kwargs)

        return type(pool_class.__name__, (pool_class,), {"ConnectionCls": Connection})

    def check(self, connected: socket.socket) -> None:
        """Raise if this is not to be talked to; it always is."""

    def cert_verify(self, connections: Any, *args: Any) -> None:
        """That they be verified, but not against what bundle: the base class would have it read again."""
        connections.cert_reqs = "CERT_REQUIRED"

    def build_response(self, *args: Any) -> requests.Response:
        """As in the base class, without what a session would follow: another host is not to have what is sent here."""
        response = super().build_response(*args)
        response.headers.pop("Location", None)
        return response

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As in the base class."""
        if time.time() - self.used_at > MAX_IDLE_SECONDS:
            self.close()
        try:
            return super().send(*args, **kwargs)
        finally:
            self.used_at = time.time()


class LimitedConnections(FreshConnections):
    """Reads every body whole, up to a limit."""

    most_bytes = MAX_ANSWER_BYTES

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As in the base class; TooLarge if the body is over the limit."""
        with super().send(*args, **kwargs) as response:
            response._content = read_up_to(self.most_bytes, response.iter_content(8192))
        return response


def exchange(
    request: requests.Request, deadline: float, connections: LimitedConnections | None = None
) -> requests.Response:
    """What is answered by the deadline (time.monotonic), with its body; else one of NO_ANSWER.

    By default over connections that are kept; without a session: no redirects, cookies, proxies or .netrc.
    """
    prepared, seconds = request.prepare(), deadline - time.monotonic()
    send = (connections or kept_connections(urlsplit(str(prepared.url)).netloc)).send
    timeout = (min(CONNECT_SECONDS, seconds / 2), seconds)  # to connect to one address, and for each read
    return call_until(deadline, functools.partial(send, prepared, timeout=timeout))


@functools.lru_cache(maxsize=16)
def kept_connections(host: str) -> LimitedConnections:
    """The connections of this instance to a host, kept between messages."""
    return LimitedConnections()


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
