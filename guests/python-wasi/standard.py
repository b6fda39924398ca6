"""A standard component of WASI 0.2 in Python, as componentize-py makes it of the world wasi:http/proxy. Nothing of
Roadrunner is in it."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import Fields, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        match request.path_with_query():
            case "/hello":
                status, text = 200, "hello from Python\n"
            case "/length":
                status, text = 200, f"{sum(len(piece) for piece in pieces(request))}\n"
            case "/cat":
                with open("/pictures/cat") as file:
                    status, text = 200, file.read()
            case _:
                status, text = 404, "not found\n"
        response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
        response.set_status_code(status)
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            stream.blocking_write_and_flush(text.encode())
        OutgoingBody.finish(body, None)


def pieces(request):
    with request.consume() as body, body.stream() as stream:
        while True:
            try:
                yield stream.blocking_read(65536)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    return
                raise
