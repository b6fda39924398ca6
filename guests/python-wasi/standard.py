"""A standard component of WASI 0.2 in Python, as componentize-py makes it of the world wasi:http/proxy, with the event
loop for asyncio that it brings. Nothing of Roadrunner is in it."""

import asyncio
import hashlib
from urllib.parse import urlsplit

import poll_loop
from componentize_py_types import Ok
from poll_loop import PollLoop, Sink, Stream
from wit_world import exports
from wit_world.imports.types import (
    Fields,
    OutgoingRequest,
    OutgoingResponse,
    ResponseOutparam,
    Scheme_Http,
)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        loop = PollLoop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(handle(request, response_out))


async def handle(request, response_out):
    path, _, query = request.path_with_query().partition("?")
    match path:
        case "/hello":
            await send(response_out, 200, b"hello from Python\n")
        case "/length":
            total = 0
            async for piece in pieces(request.consume()):
                total += len(piece)
            await send(response_out, 200, f"{total}\n".encode())
        case "/cat":
            with open("/pictures/cat") as file:
                await send(response_out, 200, file.read().encode())
        case "/echo":
            sink = start(response_out, 200)
            async for piece in pieces(request.consume()):
                await sink.send(piece)
            sink.close()
        case "/hash":
            sink = start(response_out, 200)
            for digest in asyncio.as_completed([digest_of(url) for url in query.split(",")]):
                await sink.send(await digest)
            sink.close()
        case _:
            await send(response_out, 404, b"not found\n")


async def send(response_out, status, text):
    sink = start(response_out, status)
    await sink.send(text)
    sink.close()


def start(response_out, status):
    response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
    response.set_status_code(status)
    sink = Sink(response.body())
    ResponseOutparam.set(response_out, Ok(response))
    return sink


async def pieces(body):
    stream = Stream(body)
    while (piece := await stream.next()) is not None:
        yield piece


async def digest_of(url):
    place = urlsplit(url)
    request = OutgoingRequest(Fields.from_list([]))
    request.set_scheme(Scheme_Http())
    request.set_authority(place.netloc)
    request.set_path_with_query(place.path)
    response = await poll_loop.send(request)
    digest = hashlib.sha256()
    async for piece in pieces(response.consume()):
        digest.update(piece)
    return f"{place.path} {digest.hexdigest()}\n".encode()
