"""A standard component of WASI 0.3 in Python, as componentize-py makes it of the world wasi:http/service. Nothing of
Roadrunner is in it."""

import componentize_py_async_support
import wit_world
from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.wasi_http_types import Fields, Request, Response


class Handler(exports.Handler):
    async def handle(self, request):
        match request.get_path_with_query():
            case "/hello":
                status, text = 200, "hello from Python\n"
            case "/length":
                status, text = 200, f"{await length(request)}\n"
            case _:
                status, text = 404, "not found\n"
        writer, reader = wit_world.byte_stream()
        componentize_py_async_support.spawn(write(writer, text.encode()))
        response, _ = Response.new(Fields.from_list([("content-type", b"text/plain")]), reader, no_trailers())
        response.set_status_code(status)
        return response


async def write(writer, body):
    with writer:
        await writer.write_all(body)


async def length(request):
    _, read = wit_world.result_unit_wasi_http_types_error_code_future(lambda: Ok(None))
    stream, _ = Request.consume_body(request, read)
    total = 0
    with stream:
        while not stream.writer_dropped:
            total += len(await stream.read(65536))
    return total


def no_trailers():
    _, end = wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future(lambda: Ok(None))
    return end
