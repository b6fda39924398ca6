"""Clients of python's `websockets` and `wsproto` against an echo server on the port that is given."""

import itertools
import os
import socket
import sys

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage,
)
from wsproto.extensions import PerMessageDeflate

port = int(sys.argv[1])
url = f"ws://127.0.0.1:{port}/"
SIZES = [0, 1, 125, 126, 127, 4096, 65535, 65536, 300_000]


def talk(socket):
    for size in SIZES:
        text = ("é€ words and words " * (size // 16 + 1))[:size]
        socket.send(text)
        assert socket.recv() == text, size
        noise = os.urandom(size)
        socket.send(noise)
        assert socket.recv() == noise, size
    pieces = [b"a" * 1000, b"", b"b" * 70_000, b"c"]
    socket.send(pieces)
    assert socket.recv() == b"".join(pieces)
    pongs = [socket.ping() for _ in range(20)]
    assert all(pong.wait(5) for pong in pongs)


def with_websockets():
    combinations = list(itertools.product([False, True], [False, True], [None, 9, 15], [None, True, 9, 12]))
    factories = [None] + [
        [ClientPerMessageDeflateFactory(
            server_no_context_takeover=server_forgets, client_no_context_takeover=client_forgets,
            server_max_window_bits=server_bits, client_max_window_bits=client_bits,
        )]
        for server_forgets, client_forgets, server_bits, client_bits in combinations
    ]
    for extensions in factories:
        with connect(url, compression=None, extensions=extensions, subprotocols=["echo"], max_size=None) as socket:
            agreed = [extension.name for extension in socket.protocol.extensions]
            assert agreed == (["permessage-deflate"] if extensions else []), agreed
            assert socket.subprotocol == "echo"
            talk(socket)
            socket.close(4321, "enough")
        assert (socket.close_code, socket.protocol.close_rcvd.code) == (4321, 4321)
    print(f"websockets: {len(factories)} connections")


def with_wsproto():
    for extensions in ([], [PerMessageDeflate()]):
        connection = socket.create_connection(("127.0.0.1", port))
        protocol = WSConnection(ConnectionType.CLIENT)
        received = []

        def until(kind, count=1):
            while sum(isinstance(event, kind) for event in received) < count:
                data = connection.recv(65536)
                protocol.receive_data(data or None)
                received.extend(protocol.events())

        connection.sendall(protocol.send(Request(host="localhost", target="/", extensions=extensions)))
        until(AcceptConnection)
        # Pings and messages in one write, a fragment between them.
        burst = b"".join(protocol.send(event) for event in [
            Ping(b"1"), TextMessage("one "), TextMessage("two", message_finished=False),
            Ping(b"2"), TextMessage("", message_finished=True), Ping(b"3"), BytesMessage(b"\x00" * 5000),
        ])
        connection.sendall(burst)
        until(Pong, 3)
        until(BytesMessage)
        assert [bytes(event.payload) for event in received if isinstance(event, Pong)] == [b"1", b"2", b"3"]
        texts = "".join(event.data for event in received if isinstance(event, TextMessage))
        assert texts == "one two", texts
        assert b"".join(bytes(e.data) for e in received if isinstance(e, BytesMessage)) == b"\x00" * 5000
        connection.sendall(protocol.send(CloseConnection(code=1000, reason="bye")))
        until(CloseConnection)
        assert received[-1].code == 1000
        assert connection.recv(1) == b""
        connection.close()
    print("wsproto: 2 connections")


with_websockets()
with_wsproto()
