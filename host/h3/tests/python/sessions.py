"""What every WebTransport client needs: prefixes of streams, capsules, codes."""

from peer import DATA, frame, varint

CLOSE, DRAIN = 0x2843, 0x78AE
REJECTED, GONE = 0x3994BD84, 0x170D7B68
SETTINGS = ((0x33, 1), (0x2B603742, 1))


def number(code):
    """An application's code as that of a QUIC stream."""
    return 0x52E4A40FA8DB + code + code // 0x1E


def capsule(kind, value=b""):
    return frame(DATA, varint(kind) + varint(len(value)) + value)


def close(code, reason):
    return capsule(CLOSE, code.to_bytes(4, "big") + reason)


def bidi(client, session, data, fin=False):
    return client.bidi(varint(0x41) + varint(session) + data, fin)


def uni(client, session, data, fin=False):
    return client.uni(varint(0x54) + varint(session) + data, fin)


def opened(client, kind, session):
    """Streams that the server has opened for a session: identifier to bytes after the prefix."""
    prefix = varint(0x41 if kind == 1 else 0x54) + varint(session)
    return {s: d[len(prefix) :] for s, d in client.data.items() if s % 4 == kind and d.startswith(prefix)}
