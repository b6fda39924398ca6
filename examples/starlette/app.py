"""An app of Starlette, as it is written for any server, and the one line that makes it a guest."""

import asyncio
import contextlib

from roadrunner_guest import asgi, client
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route


@contextlib.asynccontextmanager
async def lifespan(app):
    print("the app starts")
    yield {"greeting": "hello from Starlette"}
    print("the app ends")


async def hello(request):
    return PlainTextResponse(f"{request.state.greeting}\n")


def user(request):
    """A sync endpoint, which other servers run in a thread."""
    return JSONResponse({"name": request.path_params["name"], "ask": request.query_params.get("ask")})


async def order(request):
    order = await request.json()
    task = BackgroundTask(print, f"ordered {order['item']}")
    return JSONResponse({**order, "count": order["count"] + 1}, 201, background=task)


async def echo(request):
    """Each piece goes back as it arrives."""
    return StreamingResponse(request.stream())


async def ticks(request):
    async def chunks():
        for number in range(1, 4):
            if number > 1:
                await asyncio.sleep(0.2)
            yield f"tick {number}\n"

    return StreamingResponse(chunks(), media_type="text/plain")


def fetch(request):
    """Passes the answer of another server on: /fetch?url=https://example.com/. The manifest has to grant it."""
    try:
        answer = client.get(request.query_params["url"], timeout=5)
    except client.RequestError as error:
        return PlainTextResponse(f"{error}\n", 502)
    return StreamingResponse(answer.iter_content(), answer.status_code, {"x-fetched": "yes"})


async def forward(request):
    """Sends the body on as it arrives."""
    exchange = client.Exchange("POST", request.query_params["url"])
    async for piece in request.stream():
        exchange.write(piece)
    answer = exchange.response()
    return StreamingResponse(answer.iter_content(), answer.status_code)


async def fails(request):
    raise KeyError("a fault of the app")


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/hello", hello),
        Route("/users/{name}", user),
        Route("/orders", order, methods=["POST"]),
        Route("/echo", echo, methods=["POST"]),
        Route("/ticks", ticks),
        Route("/fetch", fetch),
        Route("/forward", forward, methods=["POST"]),
        Route("/fails", fails),
    ],
)

asgi.serve(app)
