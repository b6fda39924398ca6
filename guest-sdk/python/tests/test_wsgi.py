"""WSGI apps: the environment, what is buffered and what is streamed, and whose fault an error is."""

import sys
import unittest
from collections.abc import Iterable, Iterator
from typing import Any

from support import Client, body_of, request

from roadrunner_guest.errors import Closed, TooLarge
from roadrunner_guest.response import Buffered, Stream
from roadrunner_guest.wsgi import respond


class Wsgi(unittest.TestCase):
    def test_the_environment_is_that_of_pep_3333(self) -> None:
        seen: dict[str, Any] = {}

        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            seen.update(environ)
            start_response("201 Created", [("X-A", "1"), ("X-A", "h\xc3\xa9")])
            return [b"made"]

        headers = [
            ("x-b", b"1"),
            ("x-b", b"2"),
            ("cookie", b"a=1"),
            ("cookie", b"b=2"),
            ("content-type", b"a/b"),
            ("x_c", b"no"),
            ("x-name", "h\xe9".encode()),
        ]
        response = respond(app, request("/a%20b/%C3%A9?q=%20", "POST", headers, [b"abc"]))
        self.assertEqual((response.status, body_of(response)), (201, b"made"))
        self.assertEqual(response.headers, [("X-A", "1"), ("X-A", "h\xe9")])
        expected = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/a b/\xc3\xa9",
            "QUERY_STRING": "q=%20",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "8080",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "localhost:8080",
            "REMOTE_ADDR": "192.0.2.1",
            "CONTENT_TYPE": "a/b",
            "HTTP_X_B": "1,2",
            "HTTP_COOKIE": "a=1; b=2",
            "HTTP_X_NAME": "h\xc3\xa9",
        }
        self.assertEqual({name: seen.get(name) for name in expected}, expected)
        self.assertNotIn("HTTP_X_C", seen)
        self.assertEqual(seen["wsgi.input"].read(), b"abc")

    def test_a_generator_is_streamed_and_closed(self) -> None:
        reads: list[bytes] = []
        closed: list[bool] = []

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            try:
                while piece := environ["wsgi.input"].read1(10):
                    yield piece.upper()
            finally:
                closed.append(True)

        response = respond(app, request("/", "POST", body=[b"ab", b"cd", b"ef"], reads=reads))
        self.assertIsInstance(response, Stream)
        self.assertEqual(reads, [b"ab"], "no more is read than the first chunk needs")
        client: Any = Client()
        response.write_to(client)
        self.assertEqual((client.chunks, closed), ([b"AB", b"CD", b"EF"], [True]))

        response = respond(app, request("/", "POST", body=[b"ab", b"cd", b"ef"]))
        with self.assertRaises(Closed):
            response.write_to(Client(leaves_after=1))
        self.assertEqual(closed, [True, True], "also when the client leaves")

    def test_a_short_body_of_a_known_length_is_buffered(self) -> None:
        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            write = start_response("200 OK", [("Content-Length", "6"), ("X", "1")])
            write(b"ab")
            return iter([b"cd", b"ef"])

        response = respond(app, request())
        self.assertIsInstance(response, Buffered)
        self.assertEqual((response.body, response.headers), (b"abcdef", [("X", "1")]))

    def test_the_fault_of_the_client_is_not_the_app_s(self) -> None:
        def careful(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            try:
                environ["wsgi.input"].read()
            except Exception:
                start_response("500 Internal Server Error", [], sys.exc_info())
            return [b"oh"]

        with self.assertRaises(TooLarge):
            respond(careful, request("/", "POST", body=[b"a", TooLarge(1)]))

        def own(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            start_response("500 Internal Server Error", [])
            return [b"oh"]

        self.assertEqual(respond(own, request()).status, 500)

    def test_flask(self) -> None:
        try:
            from flask import Flask, Response
            from flask import request as current
        except ImportError:
            self.skipTest("flask is not installed")
        app = Flask("app")

        @app.get("/hello/<name>")
        def hello(name: str) -> str:
            return f"hello, {name}"

        @app.post("/echo")
        def echo() -> Any:
            stream = current.stream
            return Response(iter(lambda: stream.read(4), b""), mimetype="text/plain")

        @app.post("/json")
        def json() -> Any:
            return current.get_json()

        response = respond(app, request("/hello/h%C3%A9"))
        self.assertEqual((response.status, body_of(response)), (200, "hello, h\xe9".encode()))
        self.assertEqual(body_of(respond(app, request("/echo", "POST", body=[b"abcdef", b"gh"]))), b"abcdefgh")
        ask = request("/json", "POST", [("content-type", b"application/json"), ("content-length", b"7")], [b'{"a":', b"1}"])
        self.assertEqual(body_of(respond(app, ask)), b'{"a":1}\n')
        self.assertEqual(respond(app, request("/nowhere")).status, 404)

    def test_django(self) -> None:
        try:
            import django
            from django.conf import settings
            from django.core.wsgi import get_wsgi_application
            from django.http import HttpResponse
            from django.urls import path
        except ImportError:
            self.skipTest("django is not installed")
        urls: Any = type("urls", (), {"urlpatterns": [path("hello", lambda _: HttpResponse("hello from Django\n"))]})
        settings.configure(ALLOWED_HOSTS=["localhost"], ROOT_URLCONF=urls, SECRET_KEY="for a test")
        django.setup()
        response = respond(get_wsgi_application(), request("/hello"))
        self.assertEqual((response.status, body_of(response)), (200, b"hello from Django\n"))
        self.assertEqual(respond(get_wsgi_application(), request("/nowhere")).status, 404)


if __name__ == "__main__":
    unittest.main()
