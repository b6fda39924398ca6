"""A client that changes its address and its connection ID, in turn and at the same time."""

import asyncio
import sys

from peer import GET, Report, headers, peer

REPORT = Report()
CHANGES = 30


async def rebind(client):
    """Takes another socket. The old one is closed, as a NAT forgets a binding."""
    loop = asyncio.get_running_loop()
    old = client._transport
    sock = client.make_socket()
    transport, _ = await loop.create_datagram_endpoint(lambda: Receiver(client), sock=sock)
    client._transport = transport
    old.abort()


class Receiver(asyncio.DatagramProtocol):
    def __init__(self, client):
        self.client = client

    def datagram_received(self, data, address):
        self.client.datagram_received(data, address)


def socket_like(transport):
    import socket

    old = transport.get_extra_info("socket")
    sock = socket.socket(old.family, socket.SOCK_DGRAM)
    if old.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::" if old.family == socket.AF_INET6 else "127.0.0.1", 0))
    sock.setblocking(False)
    return sock


async def main(port):
    survived = 0
    ids = set()
    async with peer(port) as client:
        client.make_socket = lambda: socket_like(client._transport)
        client.control()
        ids.add(bytes(client._quic._peer_cid.cid))
        for index in range(CHANGES):
            # Only the address, only the ID, both.
            if index % 3 != 1:
                await rebind(client)
            if index % 3 != 0:
                client.change_connection_id()
            stream = client.bidi(headers(GET), True)
            survived += await client.outcome(stream, 20) == (200, b"hello GET")
            ids.add(bytes(client._quic._peer_cid.cid))
    REPORT.check("changes survived", survived, CHANGES)
    REPORT.check("connection IDs used", len(ids) > CHANGES // 2, True)
    REPORT.finish()


asyncio.run(main(int(sys.argv[1])))
