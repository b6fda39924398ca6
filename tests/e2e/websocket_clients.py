"""WebSockets with clients that know nothing of the server: websockets (HTTP/1.1), wsproto on h2 (HTTP/2)."""

import asyncio
import os
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
import websockets
import wsproto.extensions
import wsproto.frame_protocol as frames

# Neither is compressed to less than a hundredth, which the server would refuse.
TEXT = "".join(chr(0xE4 + byte) for byte in os.urandom(100_000))
BYTES = os.urandom(250_000)

PLAIN, TLS, CERTIFICATE = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


def trust(protocol):
    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.set_alpn_protocols([protocol])
    return context


async def upgrade(scheme, port, context):
    base = f"{scheme}://localhost:{port}"
    async with websockets.connect(f"{base}/echo", ssl=context, host="127.0.0.1") as client:
        assert any(e.name == "permessage-deflate" for e in client.protocol.extensions), "no compression"
        for message in ["hello", TEXT, b"", BYTES, ""]:
            await client.send(message)
            assert await client.recv() == message
        await client.send(part for part in ["one ", "two ", "three"])
        assert await client.recv() == "one two three"
        await (await client.ping())
    assert client.close_code == 1000, client.close_code

    async with websockets.connect(
        f"{base}/subprotocol", ssl=context, host="127.0.0.1", subprotocols=["one", "two"]
    ) as client:
        assert client.subprotocol == "two"

    async with websockets.connect(f"{base}/trap", ssl=context, host="127.0.0.1") as client:
        await client.send("go")
        await client.wait_closed()
        assert client.close_code == 1011, client.close_code

    # A million zeroes in a thousand bytes are more than the ratio allows.
    async with websockets.connect(f"{base}/echo", ssl=context, host="127.0.0.1") as client:
        await client.send(b"\0" * 1_000_000)
        await client.wait_closed()
        assert client.close_code == 1008, client.close_code

    try:
        await websockets.connect(f"{base}/refuse", ssl=context, host="127.0.0.1")
        raise AssertionError("it was accepted")
    except websockets.exceptions.InvalidStatus as refused:
        assert refused.response.status_code == 403, refused


class Tunnel:
    """One stream of one HTTP/2 connection (RFC 8441)."""

    def __init__(self, port, context, path, deflate):
        tcp = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.tcp = context.wrap_socket(tcp, server_hostname="localhost") if context else tcp
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http.initiate_connection()
        self.data, self.status, self.ended, self.headers = b"", None, False, {}
        self.flush()
        while not self.http.remote_settings.enable_connect_protocol:
            self.pump()
        self.stream = self.http.get_next_available_stream_id()
        self.deflate = wsproto.extensions.PerMessageDeflate() if deflate else None
        head = [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https" if context else "http"),
            (":path", path), (":authority", "localhost"), ("sec-websocket-version", "13"),
        ]
        if deflate:
            head.append(("sec-websocket-extensions", f"permessage-deflate; {self.deflate.offer()}"))
        self.http.send_headers(self.stream, head)
        self.flush()
        while self.status is None:
            self.pump()
        agreed = self.headers.get("sec-websocket-extensions")
        assert bool(agreed) == deflate, self.headers
        if agreed:
            self.deflate.finalize(agreed)
        self.frames = frames.FrameProtocol(client=True, extensions=[self.deflate] if deflate else [])

    def flush(self):
        self.tcp.sendall(self.http.data_to_send())

    def pump(self):
        received = self.tcp.recv(65536)
        assert received, "the connection was closed"
        for event in self.http.receive_data(received):
            if isinstance(event, h2.events.ResponseReceived):
                self.headers = dict(event.headers)
                self.status = int(self.headers[":status"])
            elif isinstance(event, h2.events.DataReceived):
                self.data += event.data
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self.ended = True
        self.flush()

    def send(self, data):
        while data:
            room = min(self.http.local_flow_control_window(self.stream), self.http.max_outbound_frame_size)
            if room == 0:
                self.pump()
                continue
            self.http.send_data(self.stream, data[:room])
            data = data[room:]
            self.flush()

    def message(self):
        """The next whole message or control frame: its opcode and payload."""
        parts = []
        while True:
            self.frames.receive_bytes(self.data)
            self.data = b""
            for frame in self.frames.received_frames():
                if frame.opcode.iscontrol():
                    return frame.opcode, frame.payload
                parts.append(frame.payload)
                if frame.message_finished:
                    return frame.opcode, parts[0][:0].join(parts)
            assert not self.ended, "the stream has ended"
            self.pump()


def connect(port, context):
    for deflate in [False, True]:
        tunnel = Tunnel(port, context, "/echo", deflate)
        assert tunnel.status == 200, tunnel.headers
        for message in ["hello", TEXT, b"", BYTES]:
            tunnel.send(tunnel.frames.send_data(message, fin=True))
            assert tunnel.message()[1] == message
        tunnel.send(tunnel.frames.ping(b"are you there"))
        opcode, payload = tunnel.message()
        assert (opcode, payload) == (frames.Opcode.PONG, b"are you there")
        tunnel.send(tunnel.frames.close(1000, "done"))
        opcode, payload = tunnel.message()
        assert opcode == frames.Opcode.CLOSE and payload[0] == 1000, payload
        while not tunnel.ended:
            tunnel.pump()
    assert Tunnel(port, context, "/refuse", False).status == 403


for scheme, port, secure in [("ws", PLAIN, False), ("wss", TLS, True)]:
    asyncio.run(upgrade(scheme, port, trust("http/1.1") if secure else None))
    connect(port, trust("h2") if secure else None)
print("all is well")
