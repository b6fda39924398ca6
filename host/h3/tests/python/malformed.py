"""Every way of breaking the protocol that is known here, a row each: what is sent, and the error that must come back."""

import asyncio
import sys

import pylsqpack
from peer import (
    CANCEL_PUSH, DATA, GET, GOAWAY, HEADERS, MAX_PUSH_ID, PUSH_PROMISE, SETTINGS, WAIT, Report, frame, headers, peer, post, section,
    settings, varint,
)

CLOSE, RESET = "close", "reset"
GENERAL, STREAM_CREATION, CRITICAL, UNEXPECTED, FRAME, LOAD = 0x101, 0x103, 0x104, 0x105, 0x106, 0x107
ID, SETTINGS_ERROR, MISSING, INCOMPLETE, MESSAGE, DATAGRAM = 0x108, 0x109, 0x10A, 0x10D, 0x10E, 0x33
DECOMPRESSION, ENCODER_STREAM, DECODER_STREAM = 0x200, 0x201, 0x202

ROWS = []


def row(name, expected):
    def register(action):
        ROWS.append((name, expected, action))
        return action

    return register


def request(name, expected, data, fin=True):
    """A row of bytes on one request stream, after a good control stream."""

    def action(client):
        client.control()
        return client.bidi(data, fin)

    row(name, expected)(action)


def control(name, expected, data):
    """A row of bytes on the control stream, with a request that shows what became of the connection."""

    def action(client):
        client.uni(varint(0) + data)
        return client.bidi(headers(WAIT))

    row(name, expected)(action)


def uni(name, expected, *streams, fin=False):
    """A row of unidirectional streams after a good control stream."""

    def action(client):
        client.control()
        for data in streams:
            client.uni(data, fin)
        return client.bidi(headers(WAIT))

    row(name, expected)(action)


def fields(name, *more, base=GET):
    request(f"fields: {name}", (RESET, MESSAGE), headers([*base, *more]))


def without(name):
    return [field for field in GET if field[0] != name]


# RFC 9114 section 4.1 and 7.1: the order and the layout of frames.
request("DATA before HEADERS", (CLOSE, UNEXPECTED), frame(DATA, b"x"))
request("DATA after trailers", (CLOSE, UNEXPECTED), headers(post(b"/echo")) + headers([(b"a", b"b")]) + frame(DATA, b"x"))
request("HEADERS after trailers", (CLOSE, UNEXPECTED), headers(post(b"/echo")) + headers([(b"a", b"b")]) * 2)
request("FIN without HEADERS", (RESET, INCOMPLETE), b"")
request("FIN after an unknown frame", (RESET, INCOMPLETE), frame(0x21, b"x"))
request("FIN inside a frame header", (CLOSE, FRAME), b"\x01")
request("FIN inside HEADERS", (CLOSE, FRAME), headers(GET)[:-1])
request("FIN inside DATA", (CLOSE, FRAME), headers(post(b"/echo")) + frame(DATA, b"abc")[:-1])
request("FIN inside an unknown frame", (CLOSE, FRAME), headers(GET) + frame(0x21, b"abc")[:-1])

# Section 7.2: frames that may not stand on a request stream.
for kind, payload in [(CANCEL_PUSH, b"\0"), (SETTINGS, b""), (GOAWAY, b"\0"), (MAX_PUSH_ID, b"\0")]:
    request(f"frame {kind:#x} on a request stream", (CLOSE, UNEXPECTED), frame(kind, payload) + headers(GET))
request("PUSH_PROMISE from a client", (CLOSE, UNEXPECTED), headers(GET) + frame(PUSH_PROMISE, b"\0" + section(GET)))
request("PRIORITY_UPDATE on a request stream", (CLOSE, UNEXPECTED), frame(0xF0700, b"\0"))
for kind in (0x2, 0x6, 0x8, 0x9):
    request(f"HTTP/2 frame {kind:#x} on a request stream", (CLOSE, UNEXPECTED), headers(GET) + frame(kind))

# Section 6.2.1 and 7.2: the control stream.
control("control stream without SETTINGS", (CLOSE, MISSING), frame(MAX_PUSH_ID, b"\0"))
control("control stream that begins with an unknown frame", (CLOSE, MISSING), frame(0x21, b"") + settings())
control("a second SETTINGS", (CLOSE, UNEXPECTED), settings() * 2)
control("DATA on the control stream", (CLOSE, UNEXPECTED), settings() + frame(DATA, b"x"))
control("HEADERS on the control stream", (CLOSE, UNEXPECTED), settings() + headers(GET))
control("PUSH_PROMISE on the control stream", (CLOSE, UNEXPECTED), settings() + frame(PUSH_PROMISE, b"\0"))
control("HTTP/2 frame on the control stream", (CLOSE, UNEXPECTED), settings() + frame(0x6))
control("CANCEL_PUSH of nothing", (CLOSE, ID), settings() + frame(CANCEL_PUSH, b"\0"))
control("MAX_PUSH_ID that shrinks", (CLOSE, ID), settings() + frame(MAX_PUSH_ID, b"\5") + frame(MAX_PUSH_ID, b"\4"))
control("GOAWAY that grows", (CLOSE, ID), settings() + frame(GOAWAY, b"\4") + frame(GOAWAY, b"\5"))
control("GOAWAY without a payload", (CLOSE, FRAME), settings() + frame(GOAWAY))
control("GOAWAY with bytes behind it", (CLOSE, FRAME), settings() + frame(GOAWAY, b"\0\0"))
control("MAX_PUSH_ID cut short", (CLOSE, FRAME), settings() + frame(MAX_PUSH_ID, b"\x40"))
control("MAX_PUSH_ID of 2^40 bytes", (CLOSE, FRAME), settings() + varint(MAX_PUSH_ID) + varint(1 << 40))
control("PRIORITY_UPDATE for no request", (CLOSE, ID), settings() + frame(0xF0700, b"\3u=1"))
control("PRIORITY_UPDATE for a push", (CLOSE, ID), settings() + frame(0xF0701, b"\0u=1"))
control("PRIORITY_UPDATE of 2^40 bytes", (CLOSE, LOAD), settings() + varint(0xF0700) + varint(1 << 40))

# Section 7.2.4: settings.
control("SETTINGS of 2^40 bytes", (CLOSE, LOAD), varint(SETTINGS) + varint(1 << 40))
control("SETTINGS cut inside a setting", (CLOSE, FRAME), frame(SETTINGS, b"\6"))
control("a setting twice", (CLOSE, SETTINGS_ERROR), settings((6, 100), (6, 100)))
control("an unknown setting twice", (CLOSE, SETTINGS_ERROR), settings((0x4242, 1), (0x4242, 1)))
for identifier in (0x2, 0x3, 0x4, 0x5):
    control(f"reserved setting {identifier:#x}", (CLOSE, SETTINGS_ERROR), settings((identifier, 1)))
control("ENABLE_CONNECT_PROTOCOL of 2", (CLOSE, SETTINGS_ERROR), settings((0x8, 2)))
control("H3_DATAGRAM of 2", (CLOSE, SETTINGS_ERROR), settings((0x33, 2)))
control("H3_DATAGRAM without the transport parameter", (CLOSE, SETTINGS_ERROR), settings((0x33, 1)))

# Section 6.2 and RFC 9204 section 4.2: stream types.
uni("a second control stream", (CLOSE, STREAM_CREATION), varint(0) + settings())
uni("a second encoder stream", (CLOSE, STREAM_CREATION), varint(2), varint(2))
uni("a second decoder stream", (CLOSE, STREAM_CREATION), varint(3), varint(3))
uni("a push stream from a client", (CLOSE, STREAM_CREATION), varint(1) + varint(0))
uni("encoder stream closed", (CLOSE, CRITICAL), varint(2), fin=True)
uni("decoder stream closed", (CLOSE, CRITICAL), varint(3), fin=True)


@row("control stream closed", (CLOSE, CRITICAL))
def _(client):
    client.uni(varint(0) + settings(), fin=True)
    return client.bidi(headers(WAIT))


@row("control stream reset", (CLOSE, CRITICAL))
async def _(client):
    stream = client.control()
    await asyncio.sleep(0.05)
    client.reset(stream, 0x100)
    return client.bidi(headers(WAIT))


@row("the server's control stream stopped", (CLOSE, CRITICAL))
async def _(client):
    client.control()
    await client.until(lambda: 0 in client.server_streams())
    control_stream = next(stream for stream, data in client.data.items() if stream % 4 == 3 and data[:1] == b"\0")
    client.stop(control_stream, 0x100)
    return client.bidi(headers(WAIT))


# RFC 9204: QPACK.
request("empty HEADERS", (CLOSE, DECOMPRESSION), frame(HEADERS))
request("static index 99", (CLOSE, DECOMPRESSION), frame(HEADERS, b"\0\0\xff\x24"))
request("dynamic index that was never inserted", (CLOSE, DECOMPRESSION), frame(HEADERS, b"\0\0\x80"))
request("section that ends in a field", (CLOSE, DECOMPRESSION), frame(HEADERS, section(GET)[:-1]))
request("required insert count that cannot be", (CLOSE, DECOMPRESSION), frame(HEADERS, b"\xff\xff\x7f\0\x80"))
request("bad Huffman coding", (CLOSE, DECOMPRESSION), frame(HEADERS, b"\0\0\x29\xff\x00"))
uni("table capacity above the setting", (CLOSE, ENCODER_STREAM), varint(2) + b"\x3f\xff\xff\x7f")
uni("insertion into a table of nothing", (CLOSE, ENCODER_STREAM), varint(2) + b"\xc0\x01x")
uni("duplicate of nothing", (CLOSE, ENCODER_STREAM), varint(2) + b"\x00")
uni("insert count increment of zero", (CLOSE, DECODER_STREAM), varint(3) + b"\x00")
uni("increment past what was inserted", (CLOSE, DECODER_STREAM), varint(3) + b"\x3f\x20")
uni("acknowledgment of nothing", (CLOSE, DECODER_STREAM), varint(3) + b"\xff\x20")


@row("more blocked streams than the setting", (CLOSE, DECOMPRESSION))
def _(client):
    client.control()
    for _ in range(17):
        stream = client.bidi(frame(HEADERS, b"\x02\0\x80"))
    return stream


# RFC 9297 section 2.1.
@row("datagram without an identifier", (CLOSE, DATAGRAM))
def _(client):
    client.control((0x33, 1))
    client.datagram(b"\x40")
    return client.bidi(headers(WAIT))


# Section 4.1.2: content-length against DATA.
request("body shorter than content-length", (RESET, MESSAGE), headers(post(b"/echo", (b"content-length", b"5"))) + frame(DATA, b"abc"))
request("body longer than content-length", (RESET, MESSAGE), headers(post(b"/echo", (b"content-length", b"2"))) + frame(DATA, b"abc"))
request("no body for content-length", (RESET, MESSAGE), headers(post(b"/echo", (b"content-length", b"2"))))
request("trailers for content-length", (RESET, MESSAGE), headers(post(b"/count", (b"content-length", b"2"))) + headers([(b"a", b"b")]))
for value in (b"+5", b"-1", b"5, 5", b""):
    fields(f"content-length {value!r}", (b"content-length", value))
fields("content-length twice", (b"content-length", b"0"), (b"content-length", b"0"))

# Sections 4.2 and 4.3: fields.
fields("name in upper case", (b"X-A", b"b"))
fields("name with a space", (b"x a", b"b"))
request("fields: empty name", (RESET, MESSAGE), frame(HEADERS, section(GET) + b"\x20\x01b"))
for name in (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"):
    fields(name.decode(), (name, b"x"))
fields("te: gzip", (b"te", b"gzip"))
for value in (b"a\rb", b"a\nb", b"a\0b", b" a", b"a ", b"\ta"):
    fields(f"value {value!r}", (b"x-a", value))
for name, value in GET:
    fields(f"{name.decode()} twice", (name, value))
    fields(f"no {name.decode()}", base=without(name))
fields("pseudo-header after a regular field", base=[*GET[:3], (b"x-a", b"b"), GET[3]])
fields(":status", (b":status", b"200"))
fields("unknown pseudo-header", (b":x", b"y"))
fields("empty :path", (b":path", b""), base=without(b":path"))
fields(":path without a slash", (b":path", b"hello"), base=without(b":path"))
fields("asterisk for GET", (b":path", b"*"), base=without(b":path"))
fields("empty :authority", (b":authority", b""), base=without(b":authority"))
fields("user information in :authority", (b":authority", b"a@localhost"), base=without(b":authority"))
fields("host that contradicts :authority", (b"host", b"elsewhere"))
fields("host twice", (b"host", b"localhost"), (b"host", b"localhost"))
fields(":protocol without CONNECT", (b":protocol", b"websocket"))
fields("CONNECT with :path", base=[(b":method", b"CONNECT"), *GET[2:]])
fields("CONNECT without :authority", base=[(b":method", b"CONNECT")])
fields("extended CONNECT without :path", base=[(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:3]])
request("pseudo-header in trailers", (RESET, MESSAGE), headers(post(b"/count")) + headers([(b":path", b"/")]))
request("connection in trailers", (RESET, MESSAGE), headers(post(b"/count")) + headers([(b"connection", b"close")]))

# Section 4.2.2: sizes.
request("HEADERS of 2^40 bytes", (431, b""), varint(HEADERS) + varint(1 << 40) + b"x" * 1000, fin=False)
request("large when decoded", (431, b""), headers([*GET, *[(b"accept", b"*/*")] * 2500]))


# Section 4.4: tunnels.
@row("HEADERS in a tunnel", (CLOSE, UNEXPECTED))
async def _(client):
    client.control()
    stream = client.bidi(headers([(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:3], (b":path", b"/ws")]))
    await client.until(lambda: client.data[stream])
    client.send(stream, headers([(b"a", b"b")]))
    return stream


async def main(port):
    report = Report()
    for name, expected, action in ROWS:
        options = {"max_datagram_frame_size": 65536} if "datagram without" in name else {}
        async with peer(port, **options) as client:
            stream = action(client)
            if asyncio.iscoroutine(stream):
                stream = await stream
            report.check(name, await client.outcome(stream), expected)
    # What is wrong on one connection or stream is nothing to others.
    async with peer(port) as client:
        client.control()
        bad, good = client.bidi(headers(GET + GET), True), client.bidi(headers(GET), True)
        report.check("a stream error leaves the connection", await client.outcome(good), (200, b"hello GET"))
        report.check("and ends its stream", await client.outcome(bad), (RESET, MESSAGE))
    print(f"rows {len(ROWS)}")
    report.finish()


asyncio.run(main(int(sys.argv[1])))
