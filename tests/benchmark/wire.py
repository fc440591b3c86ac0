"""A TCP proxy that makes a stand-in on this machine as far away as a real service, and counts what goes through."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import threading
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

POLL_SECONDS = 0.01
IDLE_SECONDS = 60.0  # after which a connection that nobody uses is closed


class Network(NamedTuple):
    """How far away a service is."""

    round_trip_seconds: float = 0.0  # for every request
    connect_seconds: float = 0.0  # for every new connection: all the round trips of TCP and TLS


NO_DISTANCE = Network()


class Wire:
    """`url` leads to the stand-in, with TLS, while the `with` block lasts.

    `connections` and `moved_bytes` (in both directions, before encryption) are those so far. They are exact as long as
    there is one request at a time.
    """

    def __init__(self, url: str, tls: ssl.SSLContext, network: Network) -> None:
        self.service = ("127.0.0.1", urlsplit(url).port or 0)
        self.tls = tls
        self.network = network
        self.connections = 0
        self.open_connections = 0
        self.moved_bytes = 0
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.wire = self

    def __enter__(self) -> Wire:
        threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """https://127.0.0.1:<port>, without a trailing slash."""
        return "https://{}:{}".format(*self._server.server_address[:2])


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    wire: Wire


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        wire = self.server.wire
        wire.connections += 1
        wire.open_connections += 1
        time.sleep(wire.network.connect_seconds)
        with contextlib.suppress(OSError):  # a side that hangs up
            client = wire.tls.wrap_socket(self.request, server_side=True)
            with client, socket.create_connection(wire.service) as service:
                relay(client, service, wire)
        wire.open_connections -= 1


def relay(client: ssl.SSLSocket, service: socket.socket, wire: Wire) -> None:
    """Hand on what either side sends until one of them hangs up."""
    for side in (client, service):
        side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    asking = False
    while True:
        # What TLS has already decrypted is no longer there for select to see.
        ready: list[Any] = [client] if client.pending() else select.select([client, service], [], [], IDLE_SECONDS)[0]
        if not ready:
            return
        for side in ready:
            data = side.recv(65536)
            if not data:
                return
            if side is client and not asking:  # the beginning of a request, which may come in pieces
                time.sleep(wire.network.round_trip_seconds)
            asking = side is client
            wire.moved_bytes += len(data)
            (service if side is client else client).sendall(data)
