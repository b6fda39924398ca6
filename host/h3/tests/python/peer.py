"""A client on aioquic that can say anything on any stream, and remembers what it is told."""

import asyncio
import ssl
from collections import defaultdict
from contextlib import asynccontextmanager

import pylsqpack
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import Buffer, encode_uint_var
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

DATA, HEADERS, CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID = 0, 1, 3, 4, 5, 7, 13

GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/hello")]
WAIT = GET[:3] + [(b":path", b"/wait")]


def post(path, *more):
    return [(b":method", b"POST"), *GET[1:3], (b":path", path), *more]


def varint(value):
    return encode_uint_var(value)


def frame(kind, payload=b""):
    return varint(kind) + varint(len(payload)) + payload


def section(fields):
    """A field section with the static table only."""
    return pylsqpack.Encoder().encode(0, fields)[1]


def headers(fields):
    return frame(HEADERS, section(fields))


def settings(*pairs):
    return frame(SETTINGS, b"".join(varint(key) + varint(value) for key, value in pairs))


class Peer(QuicConnectionProtocol):
    """Streams, resets, stops, datagrams and the close, as they were received."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.data = defaultdict(bytes)
        self.ended = set()
        self.resets = {}
        self.stops = {}
        self.datagrams = []
        self.closed = None
        self.changed = asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self.data[event.stream_id] += event.data
            if event.end_stream:
                self.ended.add(event.stream_id)
        elif isinstance(event, StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, StopSendingReceived):
            self.stops[event.stream_id] = event.error_code
        elif isinstance(event, DatagramFrameReceived):
            self.datagrams.append(event.data)
        elif isinstance(event, ConnectionTerminated):
            self.closed = event.error_code
        self.changed.set()

    def send(self, stream, data, fin=False):
        self._quic.send_stream_data(stream, data, fin)
        self.transmit()

    def bidi(self, data=b"", fin=False):
        stream = self._quic.get_next_available_stream_id()
        self.send(stream, data, fin)
        return stream

    def uni(self, data, fin=False):
        stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self.send(stream, data, fin)
        return stream

    def reset(self, stream, code):
        self._quic.reset_stream(stream, code)
        self.transmit()

    def stop(self, stream, code):
        self._quic.stop_stream(stream, code)
        self.transmit()

    def datagram(self, data):
        self._quic.send_datagram_frame(data)
        self.transmit()

    def control(self, *pairs):
        return self.uni(varint(0) + settings(*pairs))

    async def until(self, condition, timeout=5):
        """True once the condition holds, false after the timeout."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while not condition():
            left = end - loop.time()
            if left <= 0:
                return False
            self.changed.clear()
            if condition():
                break
            try:
                await asyncio.wait_for(self.changed.wait(), left)
            except asyncio.TimeoutError:
                pass
        return True

    async def outcome(self, stream, timeout=5):
        """("close", code), ("reset", code), (status, body) or ("nothing",)."""
        done = lambda: self.closed is not None or stream in self.resets or stream in self.ended
        await self.until(done, timeout)
        if self.closed is not None:
            return ("close", self.closed)
        if stream in self.resets:
            return ("reset", self.resets[stream])
        if stream in self.ended:
            return self.response(stream)[:2]
        return ("nothing",)

    def frames(self, stream):
        """Whole frames of a stream."""
        buffer = Buffer(data=self.data[stream])
        frames = []
        while not buffer.eof():
            try:
                kind, length = buffer.pull_uint_var(), buffer.pull_uint_var()
                frames.append((kind, buffer.pull_bytes(length)))
            except ValueError:
                break
        return frames

    def response(self, stream, decoder=None):
        """Status, body, trailers and the statuses before the last."""
        decoder = decoder or pylsqpack.Decoder(0, 0)
        sections, body = [], b""
        for kind, payload in self.frames(stream):
            if kind == HEADERS:
                sections.append(dict(decoder.feed_header(stream, payload)[1]))
            elif kind == DATA:
                body += payload
        statuses = [int(part[b":status"]) for part in sections if b":status" in part]
        trailers = sections[-1] if sections and b":status" not in sections[-1] else None
        self.last = sections
        return (statuses[-1] if statuses else None, body, trailers, statuses[:-1])

    def server_streams(self):
        """The server's unidirectional streams: type to bytes after the type."""
        found = {}
        for stream, data in self.data.items():
            if stream % 4 == 3 and data:
                buffer = Buffer(data=data)
                kind = buffer.pull_uint_var()
                found[kind] = data[buffer.tell() :]
        return found


@asynccontextmanager
async def peer(port, protocol=Peer, **options):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE, **options)
    configuration.server_name = "localhost"
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=protocol) as client:
        yield client


class Report:
    """Prints one line per check; `finish` fails the script if one failed."""

    def __init__(self):
        self.failures = 0

    def check(self, name, found, expected):
        good = found == expected
        self.failures += not good
        print(f"ok {name}" if good else f"FAILED {name}: expected {show(expected)}, found {show(found)}", flush=True)

    def finish(self):
        raise SystemExit(1 if self.failures else 0)


def show(value):
    return repr(tuple(hex(part) if isinstance(part, int) and part > 99 else part for part in value)) if isinstance(value, tuple) else repr(value)[:300]
