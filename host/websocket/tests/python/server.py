"""An echo server of python's `websockets`; prints its port. Fragments each answer, and pings before it."""

from websockets.sync.server import serve


def echo(socket):
    for message in socket:
        socket.ping()
        middle = len(message) // 2
        socket.send([message[:middle], message[middle:]])
    socket.close()


with serve(echo, "127.0.0.1", 0, max_size=None, subprotocols=["echo"]) as server:
    print(server.socket.getsockname()[1], flush=True)
    server.serve_forever()
