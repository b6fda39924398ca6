"""ASGI apps: the scope, what is buffered and what is streamed, the lifespan, and whose fault an error is."""

import asyncio
import contextlib
import io
import time
import unittest
from collections.abc import AsyncIterator
from typing import Any

from support import Client, body_of, request

from roadrunner_guest.asgi import _run_threads_inline, respond
from roadrunner_guest.errors import Closed, TooLarge
from roadrunner_guest.response import Buffered, Stream


def without_lifespan(app: Any) -> Any:
    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await app(scope, receive, send)

    return wrapped


def start(status: int = 200, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": [(b"X-A", b"1")], **more}


def body(chunk: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": chunk, "more_body": more}


class Asgi(unittest.TestCase):
    def test_the_scope_is_that_of_the_specification(self) -> None:
        seen: dict[str, Any] = {}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.update(scope)
            await send(start(201))
            await send(body(b"made"))

        response = respond(without_lifespan(app), request("/a%20b/%C3%A9?q=%20", headers=[("x-b", b"1")]))
        assert isinstance(response, Buffered)
        self.assertEqual((response.status, response.body, response.headers), (201, b"made", [("X-A", "1")]))
        expected = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/a b/\xe9",
            "raw_path": b"/a%20b/%C3%A9",
            "query_string": b"q=%20",
            "client": ("192.0.2.1", 50000),
            "server": ("localhost", 8080),
            "headers": [(b"host", b"localhost:8080"), (b"x-b", b"1")],
        }
        self.assertEqual({name: seen.get(name) for name in expected}, expected)

    def test_chunks_leave_as_they_are_made(self) -> None:
        reads: list[bytes] = []
        steps: list[str] = []

        async def echo(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            while True:
                message = await receive()
                await send(body(message["body"].upper(), True))
                if not message["more_body"]:
                    break
            await send(body(b""))
            steps.append("done")

        response = respond(without_lifespan(echo), request("/", "POST", body=[b"ab", b"cd"], reads=reads))
        assert isinstance(response, Stream)
        self.assertEqual(reads, [], "the head leaves before the app waits for the body")

        class Slow(Client):
            def write(self, chunk: bytes | str) -> None:
                super().write(chunk)
                steps.append(f"{len(reads)} read")

        slow: Any = Slow()
        response.write_to(slow)
        self.assertEqual(slow.chunks, [b"AB", b"CD"])
        self.assertEqual(steps, ["1 read", "2 read", "done"], "the app waits for its client")

    def test_the_head_does_not_wait_for_the_first_chunk(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            await asyncio.sleep(0.2)
            await send(body(b"late"))

        started = time.monotonic()
        response = respond(without_lifespan(app), request())
        self.assertLess(time.monotonic() - started, 0.1)
        self.assertEqual(body_of(response), b"late")
        self.assertGreaterEqual(time.monotonic() - started, 0.2)

    def test_trailers_come_at_the_end(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start(trailers=True))
            await send(body(b"x"))
            await send({"type": "http.response.trailers", "headers": [(b"X-Sum", b"5")]})

        response = respond(without_lifespan(app), request())
        if isinstance(response, Stream):
            self.assertEqual(response.write_to(Client()), [("X-Sum", "5")])  # type: ignore[arg-type]
        else:
            self.assertEqual(response.trailers, [("X-Sum", "5")])

    def test_the_lifespan_is_around_the_request(self) -> None:
        steps: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                assert (await receive())["type"] == "lifespan.startup"
                scope["state"]["name"] = "it"
                steps.append("start")
                await send({"type": "lifespan.startup.complete"})
                assert (await receive())["type"] == "lifespan.shutdown"
                steps.append("stop")
                await send({"type": "lifespan.shutdown.complete"})
                return
            steps.append(scope["state"]["name"])
            await send(start())
            await send(body(b"x"))

        respond(app, request())
        self.assertEqual(steps, ["start", "it", "stop"])

        async def broken(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

        with self.assertRaisesRegex(RuntimeError, "no database"):
            respond(broken, request())

    def test_errors_are_whose_they_are(self) -> None:
        async def reads(scope: Any, receive: Any, send: Any) -> None:
            try:
                while (message := await receive())["type"] == "http.request" and message["more_body"]:
                    pass
                if message["type"] == "http.disconnect":
                    raise OSError("gone")
            except Exception:
                await send(start(500))
                await send(body(b"oh"))
                raise

        for error in [Closed("gone"), TooLarge(1)]:
            with self.assertRaises(type(error)):
                respond(without_lifespan(reads), request("/", "POST", body=[b"a", error]))

        async def fails(scope: Any, receive: Any, send: Any) -> None:
            raise KeyError("mine")

        with self.assertRaises(KeyError):
            respond(without_lifespan(fails), request())

        async def fails_late(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            await send(body(b"a", True))
            raise KeyError("mine")

        with self.assertRaises(KeyError):
            body_of(respond(without_lifespan(fails_late), request()))

        async def waits(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.get_running_loop().create_future()

        with self.assertRaisesRegex(RuntimeError, "cannot happen"):
            respond(without_lifespan(waits), request())

    def test_a_client_that_leaves_ends_the_app(self) -> None:
        seen: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            try:
                while True:
                    await send(body(b"x", True))
            except OSError as error:
                seen.append(str(error))

        response = respond(without_lifespan(app), request())
        assert isinstance(response, Stream)
        client: Any = Client(leaves_after=2)
        with self.assertRaises(Closed):
            response.write_to(client)
        self.assertEqual(seen, ["the client is gone"])

    def test_starlette(self) -> None:
        try:
            from starlette.applications import Starlette
            from starlette.background import BackgroundTask
            from starlette.middleware import Middleware
            from starlette.middleware.base import BaseHTTPMiddleware
            from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
            from starlette.routing import Route
        except ImportError:
            self.skipTest("starlette is not installed")
        _run_threads_inline()
        steps: list[str] = []

        @contextlib.asynccontextmanager
        async def lifespan(_: Any) -> AsyncIterator[dict[str, str]]:
            steps.append("start")
            yield {"greeting": "hello"}
            steps.append("stop")

        def sync(current: Any) -> Any:
            return PlainTextResponse(f"{current.state.greeting}, {current.path_params['name']}")

        async def echo(current: Any) -> Any:
            return StreamingResponse(current.stream())

        async def json(current: Any) -> Any:
            return JSONResponse(await current.json(), background=BackgroundTask(lambda: steps.append("background")))

        async def boom(_: Any) -> Any:
            raise KeyError("mine")

        async def mark(current: Any, call_next: Any) -> Any:
            response = await call_next(current)
            response.headers["x-mark"] = "1"
            return response

        routes = [
            Route("/hello/{name}", sync),
            Route("/echo", echo, methods=["POST"]),
            Route("/json", json, methods=["POST"]),
            Route("/boom", boom),
        ]
        app = Starlette(routes=routes, lifespan=lifespan)
        response = respond(app, request("/hello/you"))
        self.assertEqual((response.status, body_of(response)), (200, b"hello, you"))
        self.assertEqual(steps, ["start", "stop"])
        self.assertEqual(body_of(respond(app, request("/echo", "POST", body=[b"ab", b"cd"]))), b"abcd")
        steps.clear()
        self.assertEqual(body_of(respond(app, request("/json", "POST", body=[b"[1,", b"2]"]))), b"[1,2]")
        self.assertEqual(steps, ["start", "background", "stop"])
        self.assertEqual(respond(app, request("/nowhere")).status, 404)
        with contextlib.redirect_stderr(io.StringIO()) as log:
            self.assertEqual(respond(app, request("/boom")).status, 500)
        self.assertIn("KeyError: 'mine'", log.getvalue())
        marked = Starlette(routes=routes, lifespan=lifespan, middleware=[Middleware(BaseHTTPMiddleware, dispatch=mark)])
        response = respond(marked, request("/hello/you"))
        self.assertEqual((dict(response.headers)["x-mark"], body_of(response)), ("1", b"hello, you"))


if __name__ == "__main__":
    unittest.main()
