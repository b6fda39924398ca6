"""aioquic against a running server: another implementation of QUIC, HTTP/3, QPACK with its dynamic table, and RFC 9220.

http3_clients.py PORT CERTIFICATE          every check, on the demo's routes
http3_clients.py PORT CERTIFICATE silence  a request to /clock; then it says so, and waits to be killed
"""

import asyncio
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import ErrorCode, H3Connection, Setting
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamReset

PORT, CERTIFICATE = int(sys.argv[1]), sys.argv[2]


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.streams = {}
        self.closed = None
        self.changed = asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, StreamReset):
            self.streams.setdefault(event.stream_id, []).append(event)
        elif isinstance(event, StopSendingReceived):
            self.streams.setdefault(event.stream_id, []).append(event)
        elif isinstance(event, ConnectionTerminated):
            self.closed = event
        for event in self.http.handle_event(event):
            self.streams.setdefault(event.stream_id, []).append(event)
        self.changed.set()

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def begin(self, method, path, *more, end=True):
        stream = self._quic.get_next_available_stream_id()
        self.streams[stream] = []
        fields = [(b":method", method), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path)]
        if method == b"CONNECT":
            fields.insert(1, (b":protocol", b"websocket"))
        self.http.send_headers(stream, fields + list(more), end_stream=end)
        self.transmit()
        return stream

    def send(self, stream, data, end=False):
        self.http.send_data(stream, data, end)
        self.transmit()

    def ended(self, stream):
        return any(
            isinstance(event, StreamReset) or getattr(event, "stream_ended", False) for event in self.streams[stream]
        )

    def heads(self, stream):
        return [dict(event.headers) for event in self.streams[stream] if isinstance(event, HeadersReceived)]

    def body(self, stream):
        return b"".join(event.data for event in self.streams[stream] if isinstance(event, DataReceived))

    async def answer(self, stream):
        await self.until(lambda: self.ended(stream))
        heads = self.heads(stream)
        return heads[0].get(b":status"), self.body(stream), heads[1] if len(heads) > 1 else {}

    async def get(self, path, *more):
        return await self.answer(self.begin(b"GET", path, *more))


def client():
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
    configuration.load_verify_locations(CERTIFICATE)
    return connect("127.0.0.1", PORT, configuration=configuration, create_protocol=Client)


def frame(opcode, payload):
    key = b"\x01\x02\x03\x04"
    assert len(payload) < 126
    masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + key + masked


async def get_post_and_trailers():
    async with client() as peer:
        assert await peer.get(b"/hello") == (b"200", b"hello, world\n", {})
        # Enough of the same fields for both dynamic tables to be used.
        for _ in range(20):
            status, body, _ = await peer.get(b"/json", (b"user-agent", b"a browser of some length"), (b"cookie", b"a=b"))
            assert status == b"200" and b"HTTP/3.0" in body, body
        stream = peer.begin(b"POST", b"/echo", (b"content-type", b"text/plain"), (b"te", b"trailers"), end=False)
        peer.send(stream, b"some of it, ")
        peer.send(stream, b"and the rest")
        peer.http.send_headers(stream, [(b"x-sum", b"24")], end_stream=True)
        peer.transmit()
        status, body, trailers = await peer.answer(stream)
        assert (status, body, trailers) == (b"200", b"some of it, and the rest", {b"x-sum": b"24"}), (body, trailers)
        status, body, trailers = await peer.get(b"/stream?n=3")
        assert (body, trailers) == (b"chunk 0\nchunk 1\nchunk 2\n", {b"x-chunks": b"3"}), (body, trailers)
        assert (await peer.get(b"/nothing"))[0] == b"404"


async def many_at_once():
    async with client() as peer:
        streams = [peer.begin(b"GET", b"/stream?n=5&delay=2") for _ in range(80)]
        for stream in streams:
            status, body, _ = await peer.answer(stream)
            assert status == b"200" and body.count(b"\n") == 5


async def large_bodies():
    async with client() as peer:
        sent = bytes(range(256)) * 8192
        stream = peer.begin(b"POST", b"/echo", end=False)
        peer.send(stream, sent, end=True)
        _, body, _ = await peer.answer(stream)
        assert body == sent


async def reset_in_the_middle_of_a_body():
    async with client() as peer:
        stream = peer.begin(b"POST", b"/upload", (b"content-length", b"1000000"), end=False)
        peer.send(stream, b"x" * 1000)
        await asyncio.sleep(0.2)
        peer._quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        peer._quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        peer.transmit()
        await peer.until(lambda: any(isinstance(event, StreamReset) for event in peer.streams[stream]))
        assert await peer.get(b"/hello") == (b"200", b"hello, world\n", {}), "the connection goes on"


async def websocket():
    async with client() as peer:
        await peer.until(lambda: peer.http.received_settings is not None)
        assert peer.http.received_settings[Setting.ENABLE_CONNECT_PROTOCOL] == 1
        stream = peer.begin(b"CONNECT", b"/ws", (b"sec-websocket-version", b"13"), end=False)
        await peer.until(lambda: peer.heads(stream))
        head = peer.heads(stream)[0]
        assert head[b":status"] == b"200", head
        assert b"sec-websocket-accept" not in head, "RFC 9220 has no use for it"
        for text in [b"one", b"two"]:
            before = len(peer.body(stream))
            peer.send(stream, frame(1, text))
            await peer.until(lambda: text in peer.body(stream)[before:])
        peer.send(stream, frame(8, b"\x03\xe8"))
        await peer.until(lambda: b"\x88\x02\x03\xe8" in peer.body(stream))
        peer.send(stream, b"", end=True)
        await peer.until(lambda: peer.ended(stream))
        assert await peer.get(b"/hello") == (b"200", b"hello, world\n", {}), "the connection goes on"


async def silence():
    async with client() as peer:
        stream = peer.begin(b"GET", b"/clock")
        await peer.until(lambda: peer.heads(stream))
        print("open", flush=True)
        await asyncio.sleep(60)


async def main():
    if sys.argv[3:] == ["silence"]:
        return await silence()
    for check in [get_post_and_trailers, many_at_once, large_bodies, reset_in_the_middle_of_a_body, websocket]:
        await check()
        print(check.__name__)
    print("all is well")


asyncio.run(main())
