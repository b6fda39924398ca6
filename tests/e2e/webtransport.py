"""What a WebTransport client sees of the server: one part for each test of webtransport.rs."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "host/h3/tests/python"))
from peer import DATA, GET, Report, frame, headers, peer, varint  # noqa: E402
from sessions import CLOSE, DRAIN, GONE, REJECTED, SETTINGS, bidi, capsule, close, number, opened, uni  # noqa: E402

REPORT = Report()


def closed(code, reason):
    """The capsule of the server's close."""
    value = code.to_bytes(4, "big") + reason
    return varint(CLOSE) + varint(len(value)) + value


def connect(client, path, *more):
    head = [(b":method", b"CONNECT"), (b":protocol", b"webtransport"), *GET[1:3], (b":path", path)]
    return client.bidi(headers([*head, *more]))


async def session(client, path, *more):
    stream = connect(client, path, *more)
    await client.until(lambda: client.data[stream])
    REPORT.check(f"a session on {path.decode()}", client.response(stream)[0], 200)
    return stream


def datagram(client, session, data):
    client.datagram(varint(session // 4) + data)


def datagrams(client, session):
    prefix = varint(session // 4)
    return [d[len(prefix) :] for d in client.datagrams if d.startswith(prefix)]


def capsules(client, session):
    return b"".join(payload for kind, payload in client.frames(session) if kind == DATA)


async def closes(client, session, code, reason, name):
    await client.until(lambda: session in client.ended)
    REPORT.check(name, (capsules(client, session), session in client.ended), (closed(code, reason), True))


async def demo(client):
    """The demo's /wt, in two sessions at once."""
    sessions = [await session(client, b"/wt") for _ in range(2)]
    for s in sessions:
        streams = [bidi(client, s, b"%d of %d" % (i, s), True) for i in range(5)]
        await client.until(lambda: all(x in client.ended for x in streams))
        REPORT.check("bidirectional streams", [client.data[x] for x in streams], [b"%d of %d" % (i, s) for i in range(5)])
        for i in range(3):
            uni(client, s, b"%d to %d" % (i, s), True)
        await client.until(lambda: len([x for x in opened(client, 3, s) if x in client.ended]) == 3)
        answers = sorted(opened(client, 3, s).values())
        REPORT.check("unidirectional streams", answers, [b"%d to %d" % (i, s) for i in range(3)])
        for i in range(3):
            datagram(client, s, b"%d" % i)
        await client.until(lambda: len(datagrams(client, s)) == 3)
        REPORT.check("datagrams", sorted(datagrams(client, s)), [b"0", b"1", b"2"])
    stream = bidi(client, sessions[0], b"x" * 2_000_000, True)
    await client.until(lambda: stream in client.ended, 60)
    REPORT.check("2 MB there and back", len(client.data[stream]), 2_000_000)
    stream = bidi(client, sessions[1], b"echo")
    await client.until(lambda: client.data[stream])
    client.reset(stream, number(7))
    await client.until(lambda: stream in client.resets)
    REPORT.check("a reset is answered with its code", client.resets.get(stream), number(7))
    # More after one another than are allowed at once.
    for i in range(150):
        stream = bidi(client, sessions[0], b"%d" % i, True)
        if not await client.until(lambda: stream in client.ended):
            REPORT.check(f"stream {i}", client.data[stream], b"%d" % i)
            break
    request = client.bidi(headers([*GET[:3], (b":path", b"/hello")]), True)
    REPORT.check("requests go on beside it", await client.outcome(request), (200, b"hello, world\n"))
    client.send(sessions[0], close(1, b"bye"), True)
    await client.until(lambda: sessions[0] in client.ended)
    stream = bidi(client, sessions[1], b"still here", True)
    await client.until(lambda: stream in client.ended)
    REPORT.check("one session ends alone", client.data[stream], b"still here")


async def guest(client):
    """What the guest does by itself."""
    s = await session(client, b"/greet")
    await client.until(lambda: opened(client, 1, s) and opened(client, 3, s) and datagrams(client, s))
    await client.until(lambda: any(x in client.ended for x in opened(client, 3, s)))
    REPORT.check("a stream both ways", list(opened(client, 1, s).values()), [b"both ways"])
    REPORT.check("a stream one way", list(opened(client, 3, s).values()), [b"one way"])
    REPORT.check("a datagram", datagrams(client, s), [b"datagram"])
    s = await session(client, b"/reset")
    stream = bidi(client, s, b"go")
    await client.until(lambda: stream in client.stops and stream in client.resets)
    REPORT.check("stop and reset", (client.stops.get(stream), client.resets.get(stream)), (number(30), number(31)))
    s = await session(client, b"/ticks")
    await client.until(lambda: len(datagrams(client, s)) >= 3)
    REPORT.check("timers", datagrams(client, s)[:3], [b"tick"] * 3)
    one, two = await session(client, b"/feed/from-client"), await session(client, b"/feed/from-client")
    datagram(client, one, b"to all")
    await client.until(lambda: datagrams(client, one) and datagrams(client, two))
    REPORT.check("the bus", (datagrams(client, one), datagrams(client, two)), ([b"to all"], [b"to all"]))
    s = await session(client, b"/large-datagram")
    await client.until(lambda: datagrams(client, s))
    limit = int(datagrams(client, s)[0])
    REPORT.check("a datagram's limit", 1000 < limit < 1500, True)
    client.send(s, b"", True)
    await client.until(lambda: s in client.ended)


async def hears(client):
    """What the guest hears, which it says by datagrams and in the log."""
    s = await session(client, b"/log")
    said = lambda: [text.decode() for text in datagrams(client, s)]
    stream = bidi(client, s, b"ab", True)
    await client.until(lambda: len(said()) == 3)
    expected = [f"Opened {{ id: {stream}, bidirectional: true }}", f"Data {{ id: {stream}, bytes: [97, 98] }}"]
    REPORT.check("a stream", said(), [*expected, f"Finished({stream})"])
    client.datagrams.clear()
    stream = uni(client, s, b"x")
    await client.until(lambda: len(said()) == 2)
    REPORT.check("a unidirectional one", said()[0], f"Opened {{ id: {stream}, bidirectional: false }}")
    client.datagrams.clear()
    client.reset(stream, number(4_000_000_000))
    await client.until(said)
    REPORT.check("a reset", said(), [f"Reset {{ id: {stream}, code: 4000000000 }}"])
    stream = bidi(client, s, b"x")
    await client.until(lambda: len(said()) == 3)
    client.datagrams.clear()
    client.stop(stream, number(9))
    await client.until(lambda: said() and stream in client.resets)
    REPORT.check("a stop", said(), [f"Stopped {{ id: {stream}, code: 9 }}"])
    client.datagrams.clear()
    datagram(client, s, b"\x01")
    await client.until(said)
    REPORT.check("a datagram", said(), ["Datagram([1])"])
    client.datagrams.clear()
    client.send(s, capsule(DRAIN))
    await client.until(said)
    REPORT.check("a drain", said(), ["Draining"])
    client.send(s, close(4711, b"done"), True)
    await client.until(lambda: s in client.ended)
    reset = await session(client, b"/log")
    client.reset(reset, 0x10C)
    await client.until(lambda: reset in client.resets)


async def endings(client):
    """How a session ends that the server ends, for whatever reason."""
    s = await session(client, b"/close?code=4711&reason=as%20you%20wish")
    stays = bidi(client, s, b"go")
    await closes(client, s, 4711, b"as you wish", "the guest's close")
    await client.until(lambda: stays in client.resets)
    REPORT.check("its streams are gone", (client.resets.get(stays), client.stops.get(stays)), (GONE, GONE))
    s = await session(client, b"/stop")
    bidi(client, s, b"go")
    await closes(client, s, 0, b"", "the guest's stop")
    s = await session(client, b"/trap")
    stays = bidi(client, s, b"go")
    await closes(client, s, 1011, b"the handler failed", "a trap")
    await client.until(lambda: stays in client.resets)
    REPORT.check("its streams are gone too", client.resets.get(stays), GONE)
    s = await session(client, b"/trap/open")
    await closes(client, s, 1011, b"the handler failed", "a trap on open")
    s = await session(client, b"/spin")
    bidi(client, s, b"go")
    await closes(client, s, 1008, b"the handler used up its CPU time", "too much CPU")
    s = await session(client, b"/hoard")
    bidi(client, s, b"go")
    await closes(client, s, 1009, b"the handler used up its memory", "too much memory")
    s = await session(client, b"/echo")
    client.send(s, capsule(CLOSE, b"\0\0"))
    await client.until(lambda: s in client.resets)
    REPORT.check("a client that breaks a rule", client.resets.get(s), 0x10E)


async def handshakes(client):
    """What is no session."""
    allowed, foreign = (b"origin", b"https://example.com"), (b"origin", b"https://evil.example")
    await session(client, b"/echo", allowed)
    for path, more, status in (
        (b"/refuse", [], 403),
        (b"/nowhere", [], 404),
        (b"/buffered", [], 400),
        (b"/echo", [foreign], 403),
        (b"/echo", [allowed, foreign], 403),
    ):
        stream = connect(client, path, *more)
        late = bidi(client, stream, b"late")
        await client.until(lambda: stream in client.ended and late in client.resets)
        REPORT.check(f"{path} {more}", client.response(stream)[0], status)
        REPORT.check("its streams", client.resets.get(late) in (GONE, REJECTED), True)
    stream = client.bidi(headers([*GET[:3], (b":path", b"/always")]), True)
    REPORT.check("a session that nobody asked for", (await client.outcome(stream))[0], 400)
    stream = client.bidi(headers([*GET[:3], (b":path", b"/echo")]), True)
    REPORT.check("no handshake", (await client.outcome(stream))[0], 400)
    websocket = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:3], (b":path", b"/always")]
    stream = client.bidi(headers([*websocket, (b"sec-websocket-version", b"13")]), True)
    REPORT.check("a WebSocket where the guest has a session", (await client.outcome(stream))[0], 400)


async def limits(client):
    """streams = 5, datagram-queue = 3, sessions = 2, buffered-streams = 4."""
    first = client._quic.get_next_available_stream_id()
    early = [bidi(client, first + 100 * 4, b"early") for _ in range(6)]
    refused = lambda: [client.resets[x] for x in early if x in client.resets]
    await client.until(lambda: len(refused()) == 2)
    await asyncio.sleep(0.1)
    REPORT.check("buffered-streams", refused(), [REJECTED] * 2)
    for stream in early:
        client.reset(stream, 0)
    s = await session(client, b"/echo")
    streams = [bidi(client, s, b"open") for _ in range(7)]
    await client.until(lambda: all(client.data[x] or x in client.resets for x in streams))
    REPORT.check("streams", sorted(client.data[x] for x in streams), [b""] * 2 + [b"open"] * 5)
    REPORT.check("more are refused", [client.resets[x] for x in streams if x in client.resets], [REJECTED] * 2)
    many = await session(client, b"/many")
    await client.until(lambda: datagrams(client, many))
    REPORT.check("streams of the guest", datagrams(client, many), [b"5: refused: webtransport.streams"])
    third = connect(client, b"/echo")
    REPORT.check("sessions", await client.outcome(third), ("reset", 0x10B))
    client.send(many, b"", True)
    await client.until(lambda: many in client.ended)
    await session(client, b"/echo")


async def pressure(client):
    """What the guest does not read stays with the client, and what the client does not read with the guest."""
    s = await session(client, b"/slow?ms=600")
    bidi(client, s, b"busy")
    await asyncio.sleep(0.1)
    stream = bidi(client, s, b"x" * 1_000_000, True)
    await asyncio.sleep(0.3)
    sent = client._quic._streams[stream].sender.highest_offset
    REPORT.check("unread bytes stay at the client", sent <= 256 * 1024, True)
    client.send(s, b"", True)
    await client.until(lambda: s in client.ended)


async def hoard(client):
    """memory = 4MiB, datagram-queue = 10000."""
    s = await session(client, b"/slow?ms=3000")
    bidi(client, s, b"busy")
    for _ in range(120):
        for _ in range(50):
            client._quic.send_datagram_frame(varint(s // 4) + b"x" * 1100)
        client.transmit()
        await asyncio.sleep(0.01)
    await closes(client, s, 1009, b"the handler used up its memory", "too much that waits")


async def stall(client):
    """write-stall = 500ms; the client gives credit for 64 KiB of a stream and no more, as if it did not read."""
    client._quic._write_stream_limits = lambda *_, **__: None
    s = await session(client, b"/flood")
    await closes(client, s, 1008, b"the client does not read", "a client that does not read")


async def unread_close(client):
    """close-wait = 300ms; there is no credit for the whole of the close."""
    client._quic._write_stream_limits = lambda *_, **__: None
    s = await session(client, b"/close?reason=" + b"x" * 500)
    bidi(client, s, b"go")
    await client.until(lambda: s in client.resets)
    REPORT.check("a close that is not read", client.resets.get(s), 0x10C)


async def idle(client):
    s = await session(client, b"/echo")
    stream = bidi(client, s, b"x", True)
    await client.until(lambda: stream in client.ended)
    await closes(client, s, 1001, b"the session was idle for too long", "idle")


async def held(client):
    """A session that is there until something else ends it: says so, and waits."""
    s = await session(client, b"/log")
    print("ready", flush=True)
    await client.until(lambda: s in client.ended or s in client.resets or client.closed is not None, 20)
    print("capsules", capsules(client, s).hex(), flush=True)


async def drained(client):
    s = await session(client, b"/feed/nothing")
    print("ready", flush=True)
    await client.until(lambda: s in client.ended, 20)
    expected = varint(DRAIN) + varint(0) + closed(7, b"drained")
    REPORT.check("drain, then the guest's close", capsules(client, s), expected)
    await client.until(lambda: client.closed is not None)
    REPORT.check("then the connection is closed", client.closed, 0x100)


async def leaves(client):
    """The connection is closed under the session."""
    await session(client, b"/log")
    client._quic.close(0x100)
    client.transmit()


async def many(client):
    """A session that does a bit of everything, for the account of it."""
    s = await session(client, b"/echo")
    for i in range(3):
        stream = bidi(client, s, b"12345", True)
        await client.until(lambda: stream in client.ended)
        datagram(client, s, b"123")
        await client.until(lambda: len(datagrams(client, s)) == i + 1)
    client.send(s, close(0, b""), True)
    await client.until(lambda: s in client.ended)


async def pause(done):
    """Says that a step is done, and waits until the test wants the next one."""
    print("step", done, flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def hibernates(client):
    """Before each step the guest has left its instance."""
    s = await session(client, b"/count/from-client?n=100")
    own = lambda: b"".join(opened(client, 3, s).values())
    kept = bidi(client, s, b"one")
    await client.until(lambda: client.data[kept])
    REPORT.check("bytes", client.data[kept], b"1 one\n")
    await pause("a stream")
    datagram(client, s, b"two")
    await client.until(lambda: datagrams(client, s))
    REPORT.check("a datagram", datagrams(client, s), [b"2 two\n"])
    await pause("a datagram")
    client.send(kept, b"three")
    await client.until(lambda: b"three" in client.data[kept])
    REPORT.check("bytes on the same stream", client.data[kept], b"1 one\n3 three\n")
    await pause("more of the stream")
    client.send(kept, b"in 500")
    await client.until(lambda: b"in 500" in client.data[kept])
    await pause("a wish for a timer")
    await client.until(own)
    REPORT.check("a timer, on a stream of the guest", own(), b"5 timer\n")
    await pause("a timer")
    feed = await session(client, b"/feed/nothing")
    datagram(client, feed, b"news")
    await client.until(lambda: b"news" in own())
    REPORT.check("a message, on the same stream", own(), b"5 timer\n6 news\n")
    client.send(feed, close(0, b""), True)
    await client.until(lambda: feed in client.ended)
    await pause("a message")
    client.send(kept, b"", True)
    await client.until(lambda: kept in client.ended)
    REPORT.check("the end of the stream", client.data[kept], b"1 one\n3 three\n4 in 500\n7 finished\n")
    other = bidi(client, s, b"eight")
    await client.until(lambda: client.data[other])
    REPORT.check("another stream", client.data[other], b"8 eight\n")
    await pause("the end of the stream, and another")
    client.reset(other, number(30))
    await client.until(lambda: b"reset" in own())
    REPORT.check("its reset", own(), b"5 timer\n6 news\n9 reset 30\n")
    await pause("a reset")
    client.send(s, close(4711, b"done"), True)
    await client.until(lambda: s in client.ended)
    REPORT.check("the client's close", s in client.ended, True)


async def counts(client):
    """The demo in C: each datagram and each piece of a stream is answered behind its number."""
    s = await session(client, b"/wt/count")
    kept = bidi(client, s, b"one")
    await client.until(lambda: client.data[kept])
    await pause("a stream")
    datagram(client, s, b"two")
    await client.until(lambda: datagrams(client, s))
    REPORT.check("a datagram", datagrams(client, s), [b"2 two"])
    await pause("a datagram")
    client.send(kept, b"three")
    await client.until(lambda: b"three" in client.data[kept])
    REPORT.check("a stream", client.data[kept], b"1 one3 three")


async def stays(client):
    """hibernate-bytes = 1000."""
    closure, refuses = await session(client, b"/echo"), await session(client, b"/brittle/refuse")
    large = await session(client, b"/count?n=2000")
    await pause("sessions")
    for s in (closure, refuses):
        datagram(client, s, b"hi")
        await client.until(lambda: datagrams(client, s))
        REPORT.check("an answer", datagrams(client, s), [b"hi"])
    await pause("answers")
    datagram(client, large, b"forget")
    await client.until(lambda: datagrams(client, large))
    await pause("less to keep")
    datagram(client, large, b"back")
    await client.until(lambda: len(datagrams(client, large)) == 2)
    REPORT.check("its state", datagrams(client, large), [b"1 forget\n", b"2 back\n"])


async def brittle(client):
    s = await session(client, b"/brittle/suspend")
    await closes(client, s, 1011, b"the handler failed", "a trap on the way out")
    s = await session(client, b"/brittle/resume")
    await pause("asleep")
    datagram(client, s, b"wake")
    await closes(client, s, 1011, b"the handler failed", "a trap on the way in")


async def crowded(client):
    """held = 1: a session that wakes has no place."""
    s = await session(client, b"/count")
    await pause("asleep")
    await session(client, b"/echo")
    datagram(client, s, b"wake")
    await client.until(lambda: s in client.ended, 30)
    await closes(client, s, 1013, b"too many sessions are open", "no place")


async def asleep(client):
    """A session that does nothing until the server ends it: says how."""
    s = await session(client, b"/count")
    await pause("asleep")
    await client.until(lambda: s in client.ended or client.closed is not None, 20)
    value = capsules(client, s).removeprefix(varint(DRAIN) + varint(0)).removeprefix(varint(CLOSE))
    # A byte of length stands before it.
    print("closed", int.from_bytes(value[1:5], "big"), value[5:].decode(), flush=True)


async def main(port, name):
    window = {"stall": 1 << 16, "unread_close": 300}.get(name, 1 << 24)
    options = {"max_datagram_frame_size": 65536, "max_data": 1 << 24, "max_stream_data": window}
    async with peer(port, **options) as client:
        client.control(*SETTINGS)
        await globals()[name](client)
    REPORT.finish()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
