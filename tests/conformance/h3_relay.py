"""WebSockets over HTTP/1.1 in, over HTTP/3 out: puts clients that know only RFC 6455 before a server's RFC 9220.

`h3_relay.py LISTEN SERVER`; both are HOST:PORT. Each handshake becomes an extended CONNECT on a connection of its own, a
200 becomes a 101, and from there on bytes are copied both ways and nothing is looked at. The client is aioquic, so that
QUIC, HTTP/3 and QPACK are another implementation's.

For tests on loopback: it trusts its client and the server's certificate, and holds what the other side does not take.
"""

import asyncio
import base64
import hashlib
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3Connection, Setting
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

# RFC 6455, 1.3.
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_HEAD = 16 << 10
READ = 64 << 10
# What is sent on a stream and not acknowledged before more is read from the client.
AHEAD = 1 << 20


class Tunnel(QuicConnectionProtocol):
    """One connection with one extended CONNECT."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.events = asyncio.Queue()
        self.progress = asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, (ConnectionTerminated, StreamReset)):
            self.events.put_nowait(None)
        for event in self.http.handle_event(event):
            self.events.put_nowait(event)
        self.progress.set()

    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        # Acknowledgements are no event.
        self.progress.set()

    async def settings(self):
        while self.http.received_settings is None:
            self.progress.clear()
            await self.progress.wait()
        return self.http.received_settings

    async def send(self, stream, data, end=False):
        self.http.send_data(stream, data, end)
        self.transmit()
        sender = self._quic._streams[stream].sender
        while sender._buffer_stop - sender._buffer_start > AHEAD:
            self.progress.clear()
            await self.progress.wait()


async def relay(reader, writer, host, port):
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    path = lines[0].split(" ")[1]
    fields = [line.split(":", 1) for line in lines[1:] if line]
    fields = [(name.strip().lower(), value.strip()) for name, value in fields]
    key = dict(fields)["sec-websocket-key"]
    # RFC 8441, 5: the key and the fields of the upgrade have no place there.
    dropped = ("connection", "host", "upgrade", "sec-websocket-key")
    request = [
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        (b":scheme", b"https"),
        (b":authority", f"localhost:{port}".encode()),
        (b":path", path.encode()),
    ]
    request += [(name.encode(), value.encode()) for name, value in fields if name not in dropped]
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE)
    configuration.max_data = configuration.max_stream_data = 16 << 20
    async with connect(host, port, configuration=configuration, create_protocol=Tunnel) as tunnel:
        # RFC 9220, 3: the server's SETTINGS say that it takes this.
        settings = await asyncio.wait_for(tunnel.settings(), 5)
        assert settings.get(Setting.ENABLE_CONNECT_PROTOCOL) == 1, settings
        stream = tunnel._quic.get_next_available_stream_id()
        tunnel.http.send_headers(stream, request)
        tunnel.transmit()
        answer = await tunnel.events.get()
        assert isinstance(answer, HeadersReceived), answer
        headers = [(name.decode(), value.decode()) for name, value in answer.headers]
        status = dict(headers)[":status"]
        accepted = status == "200"
        if accepted:
            accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
            head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            head += f"sec-websocket-accept: {accept}\r\n"
        else:
            head = f"HTTP/1.1 {status} Refused\r\ncontent-length: 0\r\n"
        for name, value in headers:
            if not name.startswith(":") and name != "content-length":
                head += f"{name}: {value}\r\n"
        writer.write(head.encode() + b"\r\n")
        await writer.drain()
        if accepted:
            await asyncio.gather(up(reader, tunnel, stream), down(tunnel, writer))
        # The last acknowledgements are on their way.
        await asyncio.sleep(0.01)


async def up(reader, tunnel, stream):
    """Client to server. The end of the one is the end of the other."""
    while True:
        try:
            piece = await reader.read(READ)
        except ConnectionResetError:
            # A client that is done closes without reading on, which the kernel may tell as a reset.
            piece = b""
        await tunnel.send(stream, piece, end=not piece)
        if not piece:
            return


async def down(tunnel, writer):
    """Server to client."""
    while True:
        event = await tunnel.events.get()
        if isinstance(event, DataReceived):
            writer.write(event.data)
            await writer.drain()
        if event is None or getattr(event, "stream_ended", False):
            writer.close()
            return


async def serve(listen, server):
    host, port = server.rsplit(":", 1)

    async def accepted(reader, writer):
        try:
            await relay(reader, writer, host, int(port))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            writer.close()

    address, at = listen.rsplit(":", 1)
    listener = await asyncio.start_server(accepted, address, int(at), limit=MAX_HEAD)
    print(f"relaying {listen} to {server}", flush=True)
    async with listener:
        await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
