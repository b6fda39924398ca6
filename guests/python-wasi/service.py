"""A standard component of WASI 0.3 in Python, as componentize-py makes it of the world wasi:http/service. Nothing of
Roadrunner is in it."""

import asyncio
import hashlib
from urllib.parse import urlsplit

import componentize_py_async_support
import wit_world
from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports import client
from wit_world.imports.wasi_http_types import Fields, Request, Response, Scheme_Http


class Handler(exports.Handler):
    async def handle(self, request):
        path, _, query = request.get_path_with_query().partition("?")
        match path:
            case "/hello":
                return answer(200, text("hello from Python\n"))
            case "/length":
                total = 0
                async for piece in pieces(Request.consume_body(request, unit())[0]):
                    total += len(piece)
                return answer(200, text(f"{total}\n"))
            case "/echo":
                body, trailers = Request.consume_body(request, unit())
                return Response.new(Fields(), body, trailers)[0]
            case "/hash":
                return answer(200, digests_of(query.split(",")))
            case _:
                return answer(404, text("not found\n"))


def answer(status, body):
    writer, reader = wit_world.byte_stream()
    componentize_py_async_support.spawn(write(writer, body))
    response, _ = Response.new(Fields.from_list([("content-type", b"text/plain")]), reader, no_trailers())
    response.set_status_code(status)
    return response


async def write(writer, body):
    with writer:
        async for piece in body:
            await writer.write_all(piece)


async def text(text):
    yield text.encode()


async def pieces(stream):
    with stream:
        while not stream.writer_dropped:
            yield await stream.read(65536)


async def digests_of(urls):
    for digest in asyncio.as_completed([digest_of(url) for url in urls]):
        yield await digest


async def digest_of(url):
    place = urlsplit(url)
    request, _ = Request.new(Fields(), None, no_trailers(), None)
    request.set_scheme(Scheme_Http())
    request.set_authority(place.netloc)
    request.set_path_with_query(place.path)
    response = await client.send(request)
    digest = hashlib.sha256()
    async for piece in pieces(Response.consume_body(response, unit())[0]):
        digest.update(piece)
    return f"{place.path} {digest.hexdigest()}\n".encode()


def unit():
    return wit_world.result_unit_wasi_http_types_error_code_future(lambda: Ok(None))[1]


def no_trailers():
    return wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future(lambda: Ok(None))[1]
