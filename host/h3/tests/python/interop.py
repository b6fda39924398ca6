"""What a well-behaved client gets: requests, bodies, the dynamic table, cancellation, GOAWAY, tunnels, datagrams."""

import asyncio
import sys

import pylsqpack
from aioquic.buffer import Buffer
from peer import DATA, GET, GOAWAY, HEADERS, SETTINGS, WAIT, Report, frame, headers, peer, post, varint

REPORT = Report()
CONNECT = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:3]]


async def requests(client):
    client.control((0x6, 65536))
    stream = client.bidi(headers(GET), True)
    REPORT.check("GET", await client.outcome(stream), (200, b"hello GET"))
    REPORT.check("server name", client.last[0][b"x-server-name"], b"localhost")
    head = [(b":method", b"HEAD"), *GET[1:]]
    stream = client.bidi(headers(head), True)
    REPORT.check("HEAD", await client.outcome(stream), (200, b""))
    stream = client.bidi(headers(post(b"/echo", (b"content-length", b"6"))) + frame(DATA, b"abc") + frame(DATA, b"def"), True)
    REPORT.check("POST", await client.outcome(stream), (200, b"abcdef"))
    # Unknown frames may stand anywhere, and a body may come in any pieces.
    pieces = frame(0x21, b"grease") + headers(post(b"/echo")) + frame(0x40, b"x" * 100) + frame(DATA, b"ab") + frame(0x21) + frame(DATA, b"cd")
    stream = client.bidi()
    for byte in pieces:
        client.send(stream, bytes([byte]))
        await asyncio.sleep(0)
    client.send(stream, b"", True)
    REPORT.check("a byte at a time", await client.outcome(stream), (200, b"abcd"))
    stream = client.bidi(headers(post(b"/echo")) + frame(DATA, b"ab") + headers([(b"x-trailer", b"back")]), True)
    await client.outcome(stream)
    _, body, trailers, _ = client.response(stream)
    REPORT.check("trailers both ways", (body, trailers), (b"ab", {b"x-trailer": b"back"}))
    stream = client.bidi(headers([*GET[:3], (b":path", b"/hop")]), True)
    await client.outcome(stream)
    REPORT.check("connection fields are left out", {b"connection", b"transfer-encoding"} & set(client.last[0]), set())
    stream = client.bidi(headers([*GET[:3], (b":path", b"/short")]), True)
    REPORT.check("a short response is reset", await client.outcome(stream), ("reset", 0x102))
    stream = client.bidi(headers([*GET[:3], (b":path", b"/panic")]), True)
    REPORT.check("a panic is 500", await client.outcome(stream), (500, b""))
    # No limit on the size of what is skipped.
    stream = client.bidi(frame(0x21, b"x" * 3_000_000) + headers(GET), True)
    REPORT.check("a large unknown frame", await client.outcome(stream, 20), (200, b"hello GET"))
    # A unidirectional stream of an unknown type is refused and no error.
    unknown = client.uni(varint(0x21) + b"x" * 10)
    await client.until(lambda: unknown in client.stops)
    REPORT.check("an unknown stream type is stopped", client.stops.get(unknown), 0x103)
    client.uni(b"", True)
    stream = client.bidi(headers(GET), True)
    REPORT.check("and the connection lives", await client.outcome(stream), (200, b"hello GET"))
    kinds = client.server_streams()
    REPORT.check("the server's streams", sorted(kinds), [0, 2, 3])
    REPORT.check("the first is SETTINGS", kinds[0][0], SETTINGS)


async def bodies(client):
    client.control()
    stream = client.bidi(headers(post(b"/count")) + frame(DATA, b"x" * 5_000_000), True)
    REPORT.check("5 MB up", await client.outcome(stream, 30), (200, b"5000000"))
    stream = client.bidi(headers([*GET[:3], (b":path", b"/large?5000000")]), True)
    status, body = (await client.outcome(stream, 30))[:2]
    REPORT.check("5 MB down", (status, len(body)), (200, 5_000_000))
    expect = post(b"/count", (b"expect", b"100-continue"))
    stream = client.bidi(headers(expect))
    await client.until(lambda: client.data[stream])
    REPORT.check("100 comes first", client.response(stream)[0], 100)
    client.send(stream, frame(DATA, b"abc"), True)
    await client.outcome(stream)
    REPORT.check("and then the response", client.response(stream)[::3], (200, [100]))
    stream = client.bidi(headers(post(b"/unread")) + frame(DATA, b"x" * 1000))
    REPORT.check("a body that nobody reads", await client.outcome(stream), (200, b"unread"))
    await client.until(lambda: stream in client.stops)
    REPORT.check("is stopped without an error", client.stops.get(stream), 0x100)
    client.reset(stream, 0x100)
    # What is not read is not acknowledged: the window of the stream is all that is taken.
    stream = client.bidi(headers(WAIT) + frame(DATA, b"x" * 1_000_000))
    await asyncio.sleep(0.5)
    sender = client._quic._streams[stream].sender
    REPORT.check("an unread body stays at the client", sender.highest_offset <= 256 * 1024, True)


async def limits(client):
    client.control()
    stream = client.bidi(headers(post(b"/count", (b"content-length", b"2000000"))))
    REPORT.check("413", await client.outcome(stream), (413, b""))
    await client.until(lambda: stream in client.stops)
    REPORT.check("413 stops the body", client.stops.get(stream), 0x100)
    stream = client.bidi(headers(post(b"/count")) + frame(DATA, b"x" * 1_000_100), True)
    REPORT.check("a body that grows too long", (await client.outcome(stream))[0], 400)
    stream = client.bidi(headers(GET)[:-1])
    REPORT.check("a head that never ends", await client.outcome(stream), (408, b""))
    stream = client.bidi(varint(HEADERS) + varint(1 << 40) + b"x")
    REPORT.check("431", await client.outcome(stream), (431, b""))
    # It comes on a stream of its own, so it may be later than the response.
    cancelled = bytes([0x40 | stream])
    await client.until(lambda: client.server_streams()[3][-1:] == cancelled)
    REPORT.check("431 cancels decoding", client.server_streams()[3][-1:], cancelled)
    await client.until(lambda: stream in client.stops)
    REPORT.check("431 stops the rest", client.stops.get(stream), 0x100)


async def qpack(client):
    """The dynamic table both ways, with the encoder stream late."""
    encoder, decoder = pylsqpack.Encoder(), pylsqpack.Decoder(4096, 16)
    client.control((0x1, 4096), (0x7, 16))
    instructions = client.uni(varint(2))
    acknowledgments = client.uni(varint(3))
    capacity = encoder.apply_settings(4096, 16)
    fed = {2: 0, 3: 0}

    def exchange():
        streams = client.server_streams()
        encoder.feed_decoder(streams.get(3, b"")[fed[3] :])
        decoder.feed_encoder(streams.get(2, b"")[fed[2] :])
        for kind in fed:
            fed[kind] = len(streams.get(kind, b""))

    fields = [*GET, (b"user-agent", b"a client with a long name"), (b"x-tenant", b"someone in particular")]
    late, sizes, first = capacity, [], None
    for index in range(12):
        stream = client._quic.get_next_available_stream_id()
        inserts, encoded = encoder.encode(stream, fields)
        late += inserts
        client.send(stream, frame(HEADERS, encoded), True)
        sizes.append(len(encoded))
        if late:
            # The section arrives before what it refers to.
            await asyncio.sleep(0.05)
            client.send(instructions, late)
            late = b""
        done = await client.until(lambda: stream in client.ended)
        exchange()
        status, body, *_ = client.response(stream, decoder) if done else (None, b"")
        acknowledged = decoder_bytes(client, decoder, stream, acknowledgments)
        if (status, body) != (200, b"hello GET"):
            REPORT.check(f"request {index} with the dynamic table", (status, body), (200, b"hello GET"))
    REPORT.check("the table is used", sizes[-1] < sizes[0] // 2 or sizes[0] < 20, True)
    REPORT.check("every section was acknowledged", b"" != client.server_streams()[3], True)


def decoder_bytes(client, decoder, stream, acknowledgments):
    """Sends what the decoder has to say about a stream again, since the response was decoded by itself."""
    data = b""
    for kind, payload in client.frames(stream):
        if kind == HEADERS:
            data, _ = decoder.feed_header(stream, payload)
            break
    if data:
        client.send(acknowledgments, data)
    return data


async def cancellation(client):
    client.control()
    stream = client.bidi(headers(WAIT), True)
    await asyncio.sleep(0.1)
    client.stop(stream, 0x10C)
    REPORT.check("a stopped request", await client.outcome(stream), ("reset", 0x10C))
    stream = client.bidi(headers(WAIT))
    await asyncio.sleep(0.1)
    client.reset(stream, 0x10C)
    REPORT.check("a reset request", await client.outcome(stream), ("reset", 0x10C))


    # RFC 9204 section 2.2.2.2: the client's encoder learns that nobody will decode the section.
    stream = client.bidi(frame(HEADERS, b"\x02\0\x80"))
    await asyncio.sleep(0.1)
    client.reset(stream, 0x10C)
    await client.until(lambda: client.server_streams()[3].endswith(bytes([0x40 | stream])), 2)
    REPORT.check("a request reset while it is blocked", client.server_streams()[3][-1:], bytes([0x40 | stream]))
    stream = client.bidi(varint(HEADERS) + varint(100))
    await asyncio.sleep(0.1)
    client.reset(stream, 0x10C)
    await client.until(lambda: client.server_streams()[3].endswith(bytes([0x40 | stream])), 2)
    REPORT.check("a request reset inside HEADERS", client.server_streams()[3][-1:], bytes([0x40 | stream]))
    stream = client.bidi(headers([*CONNECT, (b":path", b"/ws")]))
    await client.until(lambda: client.data[stream])
    client.reset(stream, 0x10C)
    REPORT.check("a tunnel that is reset", await client.outcome(stream), ("reset", 0x10C))


async def resets(client):
    """At most ten requests left within a second."""
    client.control()
    for _ in range(30):
        # Each that comes to its end makes up for one that does not.
        await client.outcome(client.bidi(headers(GET), True))
        stream = client.bidi(headers(WAIT), True)
        client.reset(stream, 0x10C)
        client.stop(stream, 0x10C)
        await client.outcome(stream)
    REPORT.check("a client that takes answers too", await client.outcome(client.bidi(headers(GET), True)), (200, b"hello GET"))
    for _ in range(50):
        stream = client.bidi(headers(WAIT), True)
        client.stop(stream, 0x10C)
    REPORT.check("one that only leaves", await client.until(lambda: client.closed is not None), True)
    REPORT.check("it is told why", client.closed, 0x107)


async def fields(client):
    """The size of a response head that the client takes."""
    client.control((0x6, 60))
    # Until SETTINGS are there, there is no limit.
    await asyncio.sleep(0.1)
    stream = client.bidi(headers(GET), True)
    REPORT.check("a response head over the client's limit", await client.outcome(stream), ("reset", 0x102))


async def goaway(client):
    client.control()
    slow = client.bidi(headers([*GET[:3], (b":path", b"/slow")]), True)
    await asyncio.sleep(0.1)
    print("ready", flush=True)
    await client.until(lambda: len(goaways(client)) >= 2)
    found = goaways(client)
    REPORT.check("two GOAWAYs", found, [varint((1 << 62) - 4), varint(slow + 4)])
    late = client.bidi(headers(GET), True)
    REPORT.check("a late request is rejected", await client.outcome(late), ("reset", 0x10B))
    await client.until(lambda: slow in client.ended)
    REPORT.check("an early one is answered", client.response(slow)[:2], (200, b"slow"))
    await client.until(lambda: client.closed is not None)
    REPORT.check("and then the connection is closed", client.closed, 0x100)


def goaways(client):
    buffer, found = Buffer(data=client.server_streams().get(0, b"")), []
    while not buffer.eof():
        kind, length = buffer.pull_uint_var(), buffer.pull_uint_var()
        payload = buffer.pull_bytes(length)
        if kind == GOAWAY:
            found.append(payload)
    return found


async def tunnels(client):
    client.control()
    stream = client.bidi(headers([*CONNECT, (b":path", b"/ws")]) + frame(DATA, b"early"))
    await client.until(lambda: client.response(stream)[1] == b"early")
    REPORT.check("a tunnel", client.response(stream)[:2], (200, b"early"))
    client.send(stream, frame(DATA, b"x" * 200_000))
    await client.until(lambda: len(client.response(stream)[1]) == 200_005)
    REPORT.check("200 KB through it", len(client.response(stream)[1]), 200_005)
    client.send(stream, b"", True)
    REPORT.check("ends in order", (await client.outcome(stream))[0], 200)
    stream = client.bidi(headers([*CONNECT, (b":path", b"/nowhere")]))
    REPORT.check("a tunnel that is refused", await client.outcome(stream), (404, b"no tunnel here"))
    stream = client.bidi(headers([(b":method", b"CONNECT"), (b":authority", b"localhost:1")]))
    REPORT.check("plain CONNECT", (await client.outcome(stream))[0], 404)


async def datagrams(client):
    client.control((0x33, 1))
    # One for a stream that does not exist is dropped.
    client.datagram(varint(100) + b"lost")
    stream = client.bidi(headers([*CONNECT, (b":path", b"/datagrams")]))
    await client.until(lambda: client.data[stream])
    for payload in (b"one", b"", b"three"):
        client.datagram(varint(stream // 4) + payload)
    await client.until(lambda: len(client.datagrams) == 3)
    REPORT.check("datagrams come back", client.datagrams, [varint(stream // 4) + part for part in (b"one", b"", b"three")])
    second = client.bidi(headers([*CONNECT, (b":path", b"/datagrams")]))
    await client.until(lambda: client.data[second])
    client.datagram(varint(second // 4) + b"other")
    await client.until(lambda: len(client.datagrams) == 4)
    REPORT.check("with the identifier of their stream", client.datagrams[-1], varint(second // 4) + b"other")


async def flood(client):
    """What an attacker would send, while the test watches the memory of the server."""
    client.control()
    giant = client.bidi(varint(HEADERS) + varint(1 << 40))
    endless = client.bidi(varint(0x21) + varint(1 << 40))
    instructions = client.uni(varint(2) + b"\x3f\xe1\x1f")
    chunk = b"x" * 500_000
    for _ in range(40):
        for stream in (giant, endless):
            if stream not in client.stops:
                client.send(stream, chunk)
        # Insertions that evict one another.
        client.send(instructions, (b"\x43abc\x7f\xe9\x06" + b"v" * 1000) * 100)
        for _ in range(50):
            await asyncio.sleep(0.005)
            if all(s.sender.buffer_is_empty for s in client._quic._streams.values() if s.sender):
                break
    half_open = [client.bidi(varint(HEADERS)) for _ in range(90)]
    await asyncio.sleep(0.3)
    for stream in half_open:
        client.reset(stream, 0x10C)
    REPORT.check("the giant is refused", client.response(giant)[0], 431)
    REPORT.check("and nothing is closed", client.closed, None)
    stream = client.bidi(headers(GET), True)
    REPORT.check("others are served", await client.outcome(stream), (200, b"hello GET"))


async def main(port, name):
    options = {"max_datagram_frame_size": 65536} if name == "datagrams" else {}
    if name in ("bodies", "requests", "flood"):
        options.update(max_data=1 << 24, max_stream_data=1 << 24)
    async with peer(port, **options) as client:
        await globals()[name](client)
    REPORT.finish()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
