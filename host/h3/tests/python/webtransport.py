"""WebTransport sessions: streams and datagrams both ways, codes, closes, limits."""

import asyncio
import sys

from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DatagramReceived, HeadersReceived, WebTransportStreamDataReceived
from peer import DATA, GET, HEADERS, Peer, Report, frame, headers, peer, varint
from sessions import CLOSE, DRAIN, GONE, REJECTED, SETTINGS, bidi, capsule, close, number, opened, uni

REPORT = Report()


def connect(path=b"/wt", *more):
    head = [(b":method", b"CONNECT"), (b":protocol", b"webtransport"), *GET[1:3], (b":path", path)]
    return headers([*head, (b"origin", b"https://localhost"), *more])


async def session(client, path=b"/wt", *more):
    stream = client.bidi(connect(path, *more))
    await client.until(lambda: client.data[stream])
    REPORT.check("a session", client.response(stream)[0], 200)
    return stream


class Independent(Peer):
    """aioquic's own layer above the same connection."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.events = H3Connection(self._quic, enable_webtransport=True), []

    def quic_event_received(self, event):
        self.events += self.http.handle_event(event)
        super().quic_event_received(event)

    def found(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


async def independent(client):
    """With aioquic's own layer, so that no prefix is of our making."""
    http = client.http
    found = lambda: client._quic is not None and http.received_settings is not None
    await client.until(found)
    wanted = {0x8: 1, 0x33: 1, 0xFFD277: 1, 0x2B603742: 1, 0xC671706A: 16}
    REPORT.check("SETTINGS", {k: http.received_settings.get(k) for k in wanted}, wanted)
    stream = client._quic.get_next_available_stream_id()
    http.send_headers(stream, [(b":method", b"CONNECT"), (b":protocol", b"webtransport"), *GET[1:3], (b":path", b"/wt")])
    client.transmit()
    await client.until(lambda: client.found(HeadersReceived))
    REPORT.check("accepted", dict(client.found(HeadersReceived)[0].headers)[b":status"], b"200")
    for unidirectional in (False, True):
        sent = http.create_webtransport_stream(stream, is_unidirectional=unidirectional)
        if not unidirectional:
            # It does not remember what it has opened, and would take the answer for frames.
            with http._get_or_create_stream(sent) as known:
                known.frame_type, known.session_id = 0x41, stream
        client.send(sent, b"hello", True)
        data = lambda: [e for e in client.found(WebTransportStreamDataReceived) if unidirectional == (e.stream_id % 4 == 3)]
        await client.until(lambda: any(e.stream_ended for e in data()))
        REPORT.check("an answer", (b"".join(e.data for e in data()), data()[0].session_id), (b"hello", stream))
    http.send_datagram(stream, b"ping")
    client.transmit()
    await client.until(lambda: client.found(DatagramReceived))
    answer = client.found(DatagramReceived)[0]
    REPORT.check("a datagram", (answer.stream_id, answer.data), (stream, b"ping"))


async def streams(client):
    client.control(*SETTINGS)
    one = await session(client, b"/wt", (b"sec-webtransport-http3-draft02", b"1"))
    REPORT.check("draft 02 is agreed on", client.last[0].get(b"sec-webtransport-http3-draft"), b"draft02")
    two = await session(client)
    REPORT.check("and not with others", client.last[0].get(b"sec-webtransport-http3-draft"), None)
    # Two sessions of one connection, side by side.
    asked = {(s, i): bidi(client, s, b"%d of %d" % (i, s), True) for s in (one, two) for i in range(3)}
    await client.until(lambda: all(stream in client.ended for stream in asked.values()))
    for (s, i), stream in asked.items():
        REPORT.check("a bidirectional stream is echoed", client.data[stream], b"%d of %d" % (i, s))
    for s in (one, two):
        uni(client, s, b"for %d" % s, True)
        await client.until(lambda: any(x in client.ended for x in opened(client, 3, s)))
        REPORT.check("a unidirectional one is answered", list(opened(client, 3, s).values()), [b"for %d" % s])
    # A prefix in any pieces.
    prefix, stream = varint(0x41) + varint(two) + b"piece by piece", client.bidi()
    for byte in prefix:
        client.send(stream, bytes([byte]))
        await asyncio.sleep(0.002)
    client.send(stream, b"", True)
    await client.until(lambda: stream in client.ended)
    REPORT.check("byte by byte", client.data[stream], b"piece by piece")
    stream = bidi(client, one, b"x" * 3_000_000, True)
    await client.until(lambda: stream in client.ended, 30)
    REPORT.check("3 MB there and back", len(client.data[stream]), 3_000_000)
    # A stream of the server, on which the client may send.
    asked = bidi(client, one, b"open bidi")
    await client.until(lambda: opened(client, 1, one))
    server, data = next(iter(opened(client, 1, one).items()))
    REPORT.check("the server opens one", data, b"for %d" % asked)
    client.send(server, b" and back", True)
    await client.until(lambda: server in client.ended)
    REPORT.check("and it goes both ways", opened(client, 1, one)[server], b"for %d and back" % asked)
    # More streams after one another than either side allows at once.
    for index in range(150):
        stream = bidi(client, one, b"%d" % index, True)
        if not await client.until(lambda: stream in client.ended):
            REPORT.check(f"stream {index}", client.data[stream], b"%d" % index)
            break
    for index in range(60):
        before = len(opened(client, 3, two))
        uni(client, two, b"%d" % index, True)
        if not await client.until(lambda: len(opened(client, 3, two)) > before):
            REPORT.check(f"unidirectional stream {index}", None, b"%d" % index)
            break
    # Requests go on beside it.
    stream = client.bidi(headers(GET), True)
    REPORT.check("a request", await client.outcome(stream), (200, b"hello GET"))


async def datagrams(client):
    client.control(*SETTINGS)
    one, two = await session(client), await session(client)
    for s in (one, two):
        client.datagram(varint(s // 4) + b"to %d" % s)
    await client.until(lambda: len(client.datagrams) == 2)
    expected = sorted(varint(s // 4) + b"to %d" % s for s in (one, two))
    REPORT.check("datagrams are sorted by session", sorted(client.datagrams), expected)
    # 8 wait for a session that does not read; the oldest are dropped.
    client.datagrams.clear()
    late = client.bidi(connect(b"/wt/late"))
    await client.until(lambda: client.data[late])
    for index in range(30):
        client.datagram(varint(late // 4) + b"%d" % index)
    await client.until(lambda: len(client.datagrams) == 8)
    await asyncio.sleep(0.2)
    REPORT.check("a full queue", client.datagrams, [varint(late // 4) + b"%d" % i for i in range(22, 30)])


async def codes(client):
    client.control(*SETTINGS)
    one = await session(client)
    said = lambda: [d[len(varint(one // 4)) :] for d in client.datagrams]
    stream = bidi(client, one, b"refuse")
    await client.until(lambda: stream in client.stops and stream in client.resets)
    REPORT.check("stop and reset", (client.stops.get(stream), client.resets.get(stream)), (number(30), number(31)))
    for code in (0, 29, 30, 255, 0xFFFFFFFF):
        client.datagrams.clear()
        stream = bidi(client, one, b"to be reset")
        await client.until(lambda: client.data[stream])
        client.reset(stream, number(code))
        await client.until(said)
        REPORT.check("a reset", said(), [b"Reset { stream: %d, code: %d }" % (stream, code)])
    client.datagrams.clear()
    stream = bidi(client, one, b"to be stopped")
    await client.until(lambda: client.data[stream])
    client.stop(stream, number(1234))
    await client.until(lambda: said() and stream in client.resets)
    REPORT.check("a stop", said(), [b"Stopped { stream: %d, code: 1234 }" % stream])
    REPORT.check("is answered with its code", client.resets.get(stream), number(1234))
    client.datagrams.clear()
    stream = bidi(client, one, b"x")
    await client.until(lambda: client.data[stream])
    client.reset(stream, 0x10C)
    await client.until(said)
    REPORT.check("a code of no application", said(), [b"Reset { stream: %d, code: 0 }" % stream])


async def closes(client):
    client.control(*SETTINGS)
    # By the server, with streams open.
    one = await session(client)
    open_stream = bidi(client, one, b"stays open")
    await client.until(lambda: client.data[open_stream])
    bidi(client, one, b"close")
    await client.until(lambda: one in client.ended and open_stream in client.resets)
    payload = b"".join(payload for kind, payload in client.frames(one) if kind == DATA)
    expected = varint(CLOSE) + varint(4 + 11) + (4711).to_bytes(4, "big") + b"as you wish"
    REPORT.check("the server's close", payload, expected)
    REPORT.check("ends the stream", one in client.ended, True)
    REPORT.check("its streams are gone", client.resets.get(open_stream), GONE)
    late = bidi(client, one, b"too late")
    await client.until(lambda: late in client.stops and late in client.resets)
    REPORT.check("a late stream", (client.stops.get(late), client.resets.get(late)), (GONE, GONE))
    late = uni(client, one, b"too late")
    await client.until(lambda: late in client.stops)
    REPORT.check("a late unidirectional stream", client.stops.get(late), GONE)
    # By the client.
    for ending in (close(7, b"done"), b"", capsule(0x1234, b"unknown" * 1000) + close(8, b"")):
        two = await session(client)
        stream = bidi(client, two, b"stays open")
        await client.until(lambda: client.data[stream])
        client.send(two, ending, not ending)
        await client.until(lambda: two in client.ended and stream in client.resets)
        REPORT.check("the server finishes too", two in client.ended, True)
        REPORT.check("and resets the streams", client.resets.get(stream), GONE)
    three = await session(client)
    client.reset(three, 0x10C)
    await client.until(lambda: three in client.resets)
    REPORT.check("a session that is reset", client.resets.get(three), 0x10C)
    # Against the rules.
    for bad, code in (
        (close(1, b"x" * 1025), 0x107),
        (capsule(CLOSE, b"\0\0\0"), 0x10E),
        (frame(DATA, varint(CLOSE) + varint(4) + b"\0\0\0\0" + b"more"), 0x10E),
    ):
        four = await session(client)
        client.send(four, bad)
        await client.until(lambda: four in client.resets)
        REPORT.check("a bad capsule", client.resets.get(four), code)
    five = await session(client)
    client.send(five, frame(DATA, varint(CLOSE) + b"\x04\0"), True)
    await client.until(lambda: five in client.resets)
    REPORT.check("half a capsule", client.resets.get(five), 0x10E)
    # A service that drops its session.
    six = await session(client)
    stream = bidi(client, six, b"vanish")
    await client.until(lambda: six in client.resets and stream in client.resets)
    REPORT.check("a session that is dropped", (client.resets.get(six), client.resets.get(stream)), (0x10C, GONE))
    # Announced.
    seven = await session(client, b"/wt/drain")
    await client.until(lambda: len(client.frames(seven)) > 1)
    payload = b"".join(payload for kind, payload in client.frames(seven) if kind == DATA)
    REPORT.check("the server's drain", payload, varint(DRAIN) + varint(0))
    client.send(seven, capsule(DRAIN))
    await client.until(lambda: client.datagrams)
    REPORT.check("the client's drain", client.datagrams, [varint(seven // 4) + b"Drain"])


async def limits(client):
    client.control(*SETTINGS)
    # Streams that are here before their session: 16 of them are kept.
    first = client._quic.get_next_available_stream_id()
    assert first == 0
    early = [uni(client, first, b"early %d" % index, True) for index in range(4)]
    await asyncio.sleep(0.1)
    client.send(first, connect())
    await client.until(lambda: len(opened(client, 3, first)) == 4)
    await client.until(lambda: all(x in client.ended for x in opened(client, 3, first)))
    found = sorted(opened(client, 3, first).values())
    REPORT.check("early streams", found, [b"early %d" % index for index in range(4)])
    future = first + 4 * 60
    early = [bidi(client, future, b"early") for _ in range(20)]
    refused = lambda: [client.resets[stream] for stream in early if stream in client.resets]
    await client.until(lambda: len(refused()) == 4)
    await asyncio.sleep(0.1)
    REPORT.check("no more than 16", refused(), [REJECTED] * 4)
    for stream in early:
        client.reset(stream, 0)
    # 20 streams in one session.
    asked = [bidi(client, first, b"open") for _ in range(22)]
    await client.until(lambda: all(client.data[s] or s in client.resets for s in asked))
    REPORT.check("no more than 20 streams", [client.resets[s] for s in asked if s in client.resets], [REJECTED] * 2)
    asked = [s for s in asked if client.data[s]]
    REPORT.check("20 streams", len(asked), 20)
    client.send(asked[0], b"", True)
    await client.until(lambda: asked[0] in client.ended)
    stream = bidi(client, first, b"again", True)
    await client.until(lambda: stream in client.ended)
    REPORT.check("one that ends makes room", client.data[stream], b"again")
    # 4 sessions.
    others = [await session(client) for _ in range(3)]
    fifth = client.bidi(connect())
    REPORT.check("a fifth session", await client.outcome(fifth), ("reset", 0x10B))
    client.send(others[0], b"", True)
    await client.until(lambda: others[0] in client.ended)
    await session(client)
    stream = client.bidi(connect()[:-1])
    await asyncio.sleep(0.1)
    client.reset(stream, 0x10C)
    # A session that was refused.
    client.send(others[1], b"", True)
    await client.until(lambda: others[1] in client.ended)
    refused = client.bidi(connect(b"/nowhere"))
    stream = uni(client, refused, b"never")
    await client.until(lambda: stream in client.stops)
    REPORT.check("refused", (client.response(refused)[0], client.stops.get(stream)), (404, GONE))


async def pressure(client):
    """What the service does not read stays with the client, stream by stream and whole."""
    client.control(*SETTINGS)
    one = await session(client)
    bidi(client, one, b"sleep")
    await asyncio.sleep(0.1)
    stream = bidi(client, one, b"x" * 1_000_000, True)
    await asyncio.sleep(0.3)
    sender = client._quic._streams[stream].sender
    REPORT.check("unread bytes stay at the client", sender.highest_offset <= 256 * 1024, True)
    await client.until(lambda: stream in client.ended, 20)
    REPORT.check("and come when they are read", len(client.data[stream]), 1_000_000)


async def goaway(client):
    """A session goes on after GOAWAY, new requests do not."""
    client.control(*SETTINGS)
    one = await session(client)
    await asyncio.sleep(0.1)
    print("ready", flush=True)
    await client.until(lambda: client.server_streams().get(0, b"").count(varint(7) + varint(1)) >= 1)
    await asyncio.sleep(0.3)
    stream = bidi(client, one, b"still here", True)
    await client.until(lambda: stream in client.ended)
    REPORT.check("a stream after GOAWAY", client.data[stream], b"still here")
    request = client.bidi(headers(GET), True)
    REPORT.check("a request after GOAWAY", await client.outcome(request), ("reset", 0x10B))
    client.send(one, close(0, b""), True)
    await client.until(lambda: client.closed is not None)
    REPORT.check("then the connection is closed", client.closed, 0x100)


async def wrong_session(client):
    client.control(*SETTINGS)
    uni(client, 2, b"no request stream")
    await client.until(lambda: client.closed is not None)
    REPORT.check("a session identifier that is none", client.closed, 0x108)


async def inside(client):
    client.control(*SETTINGS)
    stream = client.bidi(headers(GET) + varint(0x41) + varint(0))
    REPORT.check("the signal inside a message", await client.outcome(stream), ("close", 0x106))


async def unsettled(client):
    """A handshake overtakes SETTINGS: it waits for them."""
    one = client.bidi(connect())
    await asyncio.sleep(0.3)
    REPORT.check("no answer yet", client.data[one], b"")
    client.control(*SETTINGS)
    await client.until(lambda: client.data[one])
    REPORT.check("an answer", client.response(one)[0], 200)
    client.datagram(varint(one // 4) + b"ping")
    await client.until(lambda: client.datagrams)
    REPORT.check("with datagrams", client.datagrams, [varint(one // 4) + b"ping"])


async def off(client):
    client.control(*SETTINGS)
    stream = client.bidi(connect())
    await client.until(lambda: client.data[stream])
    REPORT.check("a session where none are offered", client.response(stream)[0], 501)
    stream = client.bidi(varint(0x41) + varint(1) + b"x" + headers(GET), True)
    REPORT.check("the signal is an unknown frame", await client.outcome(stream), (200, b"hello GET"))


async def main(port, name):
    protocol = Independent if name == "independent" else Peer
    options = {"max_datagram_frame_size": 65536, "max_data": 1 << 24, "max_stream_data": 1 << 24}
    async with peer(port, protocol=protocol, **options) as client:
        await globals()[name](client)
    REPORT.finish()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
