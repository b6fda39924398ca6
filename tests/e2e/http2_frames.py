"""Frames that no honest client sends, with the h2 package where it lets them out and by hand where it does not.

Usage: http2_frames.py PLAIN-PORT TLS-PORT CERTIFICATE [flood ...]. Says what the wire shows for every case and fails on
the first that is not as expected; the end is "all is well". The server behind the ports answers `/` with 200.
"""

import os
import socket
import ssl
import struct
import sys
import time

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hpack import Decoder, Encoder

PLAIN, TLS, CERTIFICATE = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
PATIENCE = 20

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, CALM = 1, 3, 5, 6, 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

REQUEST = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")]


def spoken(fields, tls):
    """The same request with the scheme of its connection."""
    return [(name, "https" if tls and (name, value) == (":scheme", "http") else value) for name, value in fields]


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Peer:
    """A connection, with the preface sent."""

    def __init__(self, tls):
        self.tls = tls
        self.io = socket.create_connection(("127.0.0.1", TLS if tls else PLAIN), PATIENCE)
        if tls:
            context = ssl.create_default_context(cafile=CERTIFICATE)
            context.set_alpn_protocols(["h2"])
            self.io = context.wrap_socket(self.io, server_hostname="localhost")
            assert self.io.selected_alpn_protocol() == "h2"
        self.io.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.decoder = Decoder()
        self.decoder.max_allowed_table_size = 1 << 16
        config = H2Configuration(
            client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=None
        )
        self.h2 = H2Connection(config)
        self.h2.initiate_connection()
        self.io.sendall(self.h2.data_to_send())

    def send_headers(self, headers, end_stream=True, stream=1):
        self.h2.send_headers(stream, spoken(headers, self.tls), end_stream=end_stream)
        self.send(self.h2.data_to_send())

    def send(self, data):
        """False when the server does not read any more."""
        try:
            self.io.sendall(data)
            return True
        except OSError:
            return False

    def exactly(self, length):
        data = b""
        while len(data) < length:
            try:
                piece = self.io.recv(length - len(data))
            except TimeoutError:
                raise
            except OSError:
                piece = b""
            if not piece:
                return None
            data += piece
        return data

    def frame(self):
        """The next frame; none at the end."""
        header = self.exactly(9)
        if header is None:
            return None
        payload = self.exactly(int.from_bytes(header[:3], "big"))
        if payload is None:
            return None
        return header[3], header[4], int.from_bytes(header[5:], "big") & 0x7FFFFFFF, payload

    def verdict(self, stream=1):
        """What becomes of a stream: ("status", 200), ("reset", code), ("goaway", code) or ("closed", 0)."""
        while (read := self.frame()) is not None:
            kind, flags, on, payload = read
            if kind == HEADERS:
                assert flags & END_HEADERS, "small heads are one frame"
                fields = self.decoder.decode(payload, raw=True)
                if on == stream:
                    return "status", int(dict(fields)[b":status"])
            elif kind == RST_STREAM and on == stream:
                return "reset", int.from_bytes(payload, "big")
            elif kind == GOAWAY and payload[4:8] != b"\0\0\0\0":
                code = int.from_bytes(payload[4:8], "big")
                self.is_closed()
                return "goaway", code
        return "closed", 0

    def is_closed(self):
        while self.frame() is not None:
            pass

    def still_serves(self, stream):
        """A connection whose one stream was refused is good for others."""
        self.send_headers(REQUEST, stream=stream)
        return self.verdict(stream) == ("status", 200)


def without(name):
    return [field for field in REQUEST if field[0] != name]


def replaced(name, value):
    return [(key, value if key == name else old) for key, old in REQUEST]


BAD = ("reset", PROTOCOL_ERROR)
REFUSED = ("status", 400)
BROKEN = ("goaway", PROTOCOL_ERROR)

# Name, fields, what the wire shows. RFC 9113, 8.1.1: malformed requests are stream errors; what breaks the decoding of
# the field section ends the connection.
HEADS = [
    ("nothing wrong", REQUEST, ("status", 200)),
    ("Host that agrees", REQUEST + [("host", "LOCALHOST")], ("status", 200)),
    ("te: trailers", REQUEST + [("te", "trailers")], ("status", 200)),
    ("CR in a value", REQUEST + [("x", b"a\rb")], BROKEN),
    ("LF in a value", REQUEST + [("x", b"a\nb")], BROKEN),
    ("CR LF in a value", REQUEST + [("x", b"a\r\ny: b")], BROKEN),
    ("NUL in a value", REQUEST + [("x", b"a\0b")], BROKEN),
    ("DEL in a value", REQUEST + [("x", b"a\x7fb")], BROKEN),
    ("CR LF in a path", replaced(":path", b"/ HTTP/1.1\r\nhost: b\r\n\r\n"), BAD),
    ("a space in a path", replaced(":path", b"/a b"), BAD),
    ("CR LF in an authority", replaced(":authority", b"a\r\nb"), BAD),
    ("CR LF in a method", replaced(":method", b"GET / HTTP/1.1\r\n"), BROKEN),
    ("a space in a method", replaced(":method", b"GET /"), BROKEN),
    ("CR LF in a name", REQUEST + [(b"x\r\ny", b"a")], BROKEN),
    ("a space in a name", REQUEST + [(b"x y", b"a")], BROKEN),
    ("a colon in a name", REQUEST + [(b"x:y", b"a")], BROKEN),
    ("an upper-case name", REQUEST + [("X", "a")], BROKEN),
    ("an empty name", REQUEST + [(b"", b"a")], BROKEN),
    ("connection", REQUEST + [("connection", "close")], BAD),
    ("connection: te", REQUEST + [("connection", "te")], BAD),
    ("keep-alive", REQUEST + [("keep-alive", "timeout=5")], BAD),
    ("proxy-connection", REQUEST + [("proxy-connection", "close")], BAD),
    ("transfer-encoding", REQUEST + [("transfer-encoding", "chunked")], BAD),
    ("upgrade", REQUEST + [("upgrade", "h2c")], BAD),
    ("te: gzip", REQUEST + [("te", "gzip")], BAD),
    ("te: trailers, gzip", REQUEST + [("te", "trailers, gzip")], BAD),
    ("no :method", without(":method"), BAD),
    ("no :scheme", without(":scheme"), BAD),
    ("no :path", without(":path"), BAD),
    ("no :authority and no Host", without(":authority"), REFUSED),
    ("an empty :authority", replaced(":authority", ""), BAD),
    ("an empty :method", replaced(":method", ""), BROKEN),
    ("an empty :scheme", replaced(":scheme", ""), REFUSED),
    ("an empty :path", replaced(":path", ""), BAD),
    ("two :method", REQUEST + [(":method", "GET")], BAD),
    ("two :scheme", REQUEST + [(":scheme", "http")], BAD),
    ("two :authority", REQUEST + [(":authority", "localhost")], BAD),
    ("two :path", REQUEST + [(":path", "/")], BAD),
    ("an unknown pseudo-header", REQUEST + [(":nothing", "a")], BROKEN),
    (":status", REQUEST + [(":status", "200")], BAD),
    (":protocol without CONNECT", REQUEST + [(":protocol", "websocket")], BAD),
    ("a pseudo-header after a field", REQUEST[:3] + [("x", "a"), REQUEST[3]], BAD),
    ("a path without a slash", replaced(":path", "a"), BAD),
    ("an absolute path", replaced(":path", "http://localhost/"), BAD),
    ("* with GET", replaced(":path", "*"), REFUSED),
    ("user information in :authority", replaced(":authority", "user@localhost"), REFUSED),
    ("a port that is none", replaced(":authority", "localhost:99999"), REFUSED),
    ("another scheme", replaced(":scheme", "ftp"), ("status", 421)),
    ("a blank before a value", REQUEST + [("x", " a")], REFUSED),
    ("a tab behind a value", REQUEST + [("x", "a\t")], REFUSED),
    ("a dot segment", replaced(":path", "/a/../b"), REFUSED),
    ("a path beyond ASCII", replaced(":path", "/\u00e9".encode()), REFUSED),
    ("a list in :authority", replaced(":authority", "a,b c"), BAD),
    ("Host that does not agree", REQUEST + [("host", "another")], REFUSED),
    ("two Hosts", REQUEST + [("host", "localhost"), ("host", "localhost")], REFUSED),
    ("plain CONNECT", [(":method", "CONNECT"), (":authority", "localhost:80")], ("status", 501)),
    ("CONNECT with a path", [(":method", "CONNECT"), *REQUEST[1:]], BAD),
    ("a length that is not true", REQUEST + [("content-length", "5")], BAD),
    ("a length with a plus", REQUEST + [("content-length", "+0")], BAD),
    ("two lengths that differ", REQUEST + [("content-length", "0"), ("content-length", "1")], BAD),
    ("a field section over the limit", REQUEST + [("x", "y" * 20_000)], ("status", 431)),
    ("many small fields over the limit", REQUEST + [("a", "")] * 600, ("status", 431)),
]


def heads(tls):
    for name, fields, expected in HEADS:
        peer = Peer(tls)
        peer.send_headers(fields)
        found = peer.verdict()
        assert found == expected, f"{name}: {found}, not {expected}"
        if found[0] != "goaway":
            assert peer.still_serves(3), f"{name}: the connection is of no use any more"


def messages(tls):
    """Frames around a good head."""
    head = Encoder().encode(spoken(REQUEST, tls))
    post = Encoder().encode(spoken([(":method", "POST"), *REQUEST[1:], ("content-length", "5")], tls))
    cases = [
        ("more data than the length", frame(HEADERS, END_HEADERS, 1, post) + frame(DATA, END_STREAM, 1, b"sixsix"), [BAD]),
        ("less data than the length", frame(HEADERS, END_HEADERS, 1, post) + frame(DATA, END_STREAM, 1, b"four"), [BAD]),
        ("data on an idle stream", frame(DATA, END_STREAM, 1, b"x"), [BROKEN]),
        ("a head on stream 0", frame(HEADERS, END_HEADERS | END_STREAM, 0, head), [BROKEN]),
        ("a head on an even stream", frame(HEADERS, END_HEADERS | END_STREAM, 2, head), [BROKEN]),
        ("a frame over 16 KiB", frame(DATA, 0, 1, b"x" * 16_385), [("goaway", FRAME_SIZE_ERROR)]),
        ("PING of 7 bytes", frame(PING, 0, 0, b"x" * 7), [("goaway", FRAME_SIZE_ERROR), BROKEN]),
        ("PING on a stream", frame(PING, 0, 1, b"x" * 8), [BROKEN]),
        ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, b"x" * 5), [("goaway", FRAME_SIZE_ERROR), BROKEN]),
        ("PUSH_PROMISE", frame(5, END_HEADERS, 1, b"\0\0\0\2" + head), [BROKEN]),
        ("CONTINUATION alone", frame(CONTINUATION, END_HEADERS, 1, head), [BROKEN]),
        ("a frame within a head", frame(HEADERS, 0, 1, head[:2]) + frame(PING, 0, 0, b"x" * 8), [BROKEN]),
        ("HPACK that cannot be decoded", frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff"), [("goaway", 9), BROKEN]),
        ("a window over 2^31", frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), [("goaway", FLOW_CONTROL_ERROR)]),
        ("a window update of 0", frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), [BROKEN]),
    ]
    for name, sent, expected in cases:
        peer = Peer(tls)
        peer.send(sent)
        found = peer.verdict()
        assert found in expected, f"{name}: {found}, not {expected}"


# Frames that cost the client next to nothing, one piece each; those with a stream open it first.
def repeated(piece):
    return lambda index: piece


def rapid_reset(index):
    stream = 2 * index + 1
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, HEAD) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")


def made_to_reset(poison):
    """A stream that the server has to reset itself, while its handler may be running."""

    def piece(index):
        stream = 2 * index + 1
        return frame(HEADERS, END_HEADERS | END_STREAM, stream, HEAD) + poison(stream)

    return piece


FLOODED = [*REQUEST[:3], (":path", os.environ.get("FLOODED_PATH", "/"))]
HEAD = Encoder().encode(FLOODED)
MALFORMED = Encoder().encode(FLOODED + [("connection", "close")])
UNTRUE = Encoder().encode([(":method", "POST"), *FLOODED[1:], ("content-length", "5")])
OPEN = frame(HEADERS, END_HEADERS, 1, Encoder().encode([(":method", "POST"), *REQUEST[1:]]))

FLOODS = {
    "ping": (b"", repeated(frame(PING, 0, 0, b"x" * 8))),
    "settings": (b"", repeated(frame(SETTINGS, 0, 0, b""))),
    "empty data": (OPEN, repeated(frame(DATA, 0, 1))),
    "empty padded data": (OPEN, repeated(frame(DATA, 8, 1, b"\0"))),
    "window update": (b"", repeated(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"))),
    "window update of a stream": (OPEN, repeated(frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"))),
    "priority": (b"", repeated(frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"))),
    "unknown frames": (b"", repeated(frame(0x77, 0, 0, b"?"))),
    "continuation": (frame(HEADERS, 0, 1, HEAD), repeated(frame(CONTINUATION, 0, 1, b""))),
    "large continuation": (frame(HEADERS, 0, 1, HEAD), repeated(frame(CONTINUATION, 0, 1, b"\0\1x\x7f\x81\x7a" + b"y" * 15_744))),
    "rapid reset": (b"", rapid_reset),
    "made to reset by a window update of 0": (b"", made_to_reset(lambda stream: frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\0"))),
    "made to reset by a window over 2^31": (b"", made_to_reset(lambda stream: frame(WINDOW_UPDATE, 0, stream, b"\x7f\xff\xff\xff"))),
    "made to reset by data after the end": (b"", made_to_reset(lambda stream: frame(DATA, 0, stream, b"x"))),
    "made to reset by a short priority": (b"", made_to_reset(lambda stream: frame(PRIORITY, 0, stream, b"x"))),
    "made to reset by a malformed head": (
        b"",
        lambda index: frame(HEADERS, END_HEADERS | END_STREAM, 2 * index + 1, MALFORMED),
    ),
    "made to reset by a length that is not true": (
        b"",
        lambda index: frame(HEADERS, END_HEADERS, 2 * index + 1, UNTRUE) + frame(DATA, END_STREAM, 2 * index + 1, b"x"),
    ),
    "made to reset by a second head": (b"", made_to_reset(lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, HEAD))),
}

# An endpoint may treat an error of a stream as one of the connection (RFC 9113, 5.4): here the first one ends it, so
# that nothing is to be had from repeating it.
ENDS_AT_ONCE = {
    "made to reset by a window update of 0",
    "made to reset by data after the end",
    "made to reset by a short priority",
    "made to reset by a second head",
}


def flood(tls, name):
    before, piece = FLOODS[name]
    peer = Peer(tls)
    peer.send(before)
    sent = 0
    # Up to a million, in small bursts; the budgets are a few hundred or thousand a second.
    while sent < 1_000_000 and peer.send(b"".join(piece(index) for index in range(sent, sent + 50))):
        sent += 50
        # What the server says is read now and then, so that it can write.
        peer.io.settimeout(0)
        try:
            while (data := peer.io.recv(1 << 16)) and goaway(peer, data) is None:
                pass
            if not data:
                break
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError:
            break
        peer.io.settimeout(PATIENCE)
        if peer.code is not None:
            break
    peer.io.settimeout(PATIENCE)
    while peer.code is None:
        try:
            data = peer.io.recv(1 << 16)
        except TimeoutError:
            raise
        except OSError:
            data = b""
        if not data:
            break
        goaway(peer, data)
    wanted = PROTOCOL_ERROR if name in ENDS_AT_ONCE else CALM
    assert peer.code == wanted, f"{name}: GOAWAY with {peer.code} after {sent} frames, not {wanted}"
    peer.io.close()
    return sent


def resets_within_the_budget(tls):
    """Streams that are reset when their handlers run, too slowly for any budget: two seconds of it."""
    peer = Peer(tls)
    streams = iter(range(1, 1 << 20, 2))
    total = 0
    for _ in range(20):
        batch = [next(streams) for _ in range(10)]
        assert peer.send(b"".join(frame(HEADERS, END_HEADERS | END_STREAM, stream, HEAD) for stream in batch))
        time.sleep(0.1)
        assert peer.send(b"".join(frame(RST_STREAM, 0, stream, b"\0\0\0\x08") for stream in batch))
        total += len(batch)
    peer.io.close()
    return total


def goaway(peer, data):
    """Looks for GOAWAY in all that has come; notes its code."""
    peer.inbox = getattr(peer, "inbox", b"") + data
    peer.code = getattr(peer, "code", None)
    while len(peer.inbox) >= 9:
        length = int.from_bytes(peer.inbox[:3], "big")
        if len(peer.inbox) < 9 + length:
            break
        if peer.inbox[3] == GOAWAY and peer.inbox[13:17] != b"\0\0\0\0":
            peer.code = int.from_bytes(peer.inbox[13:17], "big")
        peer.inbox = peer.inbox[9 + length :]
    return peer.code


def settings(tls):
    """What the server advertises (RFC 9113, 6.5.2)."""
    peer = Peer(tls)
    kind, flags, stream, payload = peer.frame()
    assert (kind, flags, stream) == (SETTINGS, 0, 0), "the first frame is SETTINGS"
    found = dict(struct.unpack_from(">HI", payload, at) for at in range(0, len(payload), 6))
    assert found[SettingCodes.MAX_HEADER_LIST_SIZE] == 16 * 1024, found
    assert found[SettingCodes.MAX_CONCURRENT_STREAMS] == 200, found
    assert found[SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1, found


def main():
    names = sys.argv[4:]
    for tls in [False, True]:
        way = "h2" if tls else "h2c"
        if names:
            for name in names:
                Peer.code = None
                done = resets_within_the_budget(tls) if name == "resets within the budget" else flood(tls, name)
                print(f"{way}: {name}: {done} frames")
            continue
        settings(tls)
        heads(tls)
        messages(tls)
        for name in FLOODS:
            Peer.code = None
            print(f"{way}: {name}: {flood(tls, name)} frames", flush=True)
    print("all is well")


main()
