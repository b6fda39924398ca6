"""The demo's routes in Python: one for each shape of response. guests/README.md has the table."""

import logging
import time
from collections.abc import Generator
from decimal import Decimal
from urllib.parse import unquote

from roadrunner_guest import (
    Buffered,
    Closed,
    Error,
    Event,
    Json,
    Message,
    Refused,
    Request,
    Response,
    SendFile,
    Sender,
    Sse,
    SseWriter,
    Stream,
    TimedOut,
    Timer,
    TooLarge,
    WebSocket,
    bus,
    config,
    handler,
    secrets,
    sql,
    store,
    timers,
)


@handler
def demo(request: Request) -> Response:
    path = request.path.removeprefix("/python")
    match path:
        case "/hello":
            return "hello, world\n"
        case "/json":
            return json(request)
        case "/echo":
            return echo(request)
        case "/stream":
            return stream(request)
        case "/clock":
            return clock()
        case "/room":
            return room()
        case "/settings":
            return settings()
        case "/upload":
            return upload(request)
        case "/ws":
            return WebSocket(repeat)
        case "/secret":
            # What a secret is leaves the guest here, because this shows that it is there.
            secret = secrets.get(request.query_param("name", ""))
            return Buffered(b"", status=404) if secret is None else secret
        case "/sql":
            return use_database()
    if path.startswith("/store/"):
        return use_store(request, path.removeprefix("/store/"))
    if path.startswith("/files/"):
        return SendFile("files", unquote(path.removeprefix("/files/")))
    return Buffered("there is nothing here\n", status=404)


def json(request: Request) -> Response:
    """What a small API answers."""
    seen = {"method": request.method, "version": request.version, "peer": request.peer}
    return Json({"message": "hello, world", **seen})


def echo(request: Request) -> Response:
    """Sends each piece of the request body back as it arrives, then the request's trailers."""
    body = request.body()

    def chunks() -> Generator[bytes, None, list[tuple[str, str]]]:
        yield from body
        return body.trailers()

    copied = [(name, value) for name in ("content-type", "trailer") if (value := request.header(name)) is not None]
    return Stream(chunks(), headers=copied)


def stream(request: Request) -> Response:
    """`n` chunks (10), `delay` milliseconds (0) after each but the last, and their number as a trailer."""
    count = int(request.query_param("n", "10"))
    delay = int(request.query_param("delay", "0")) / 1000

    def chunks() -> Generator[str, None, dict[str, str]]:
        for chunk in range(count):
            if chunk > 0 and delay > 0:
                time.sleep(delay)
            yield f"chunk {chunk}\n"
        return {"x-chunks": str(count)}

    return Stream(chunks(), headers={"content-type": "text/plain; charset=utf-8", "trailer": "x-chunks"})


def clock() -> Response:
    """A tick a second."""
    timers.every(1)
    ticks = 0

    def tick(event: Event, out: SseWriter) -> None:
        nonlocal ticks
        if isinstance(event, Timer):
            ticks += 1
            out.send(str(ticks))

    return Sse(tick)


def room() -> Response:
    """Speaks to itself on the topic `room`, leaves it with the third tick of a timer, and says how many still listen."""
    bus.subscribe("room")
    start = timers.after(0.001)
    clock = ticks = 0

    def hear(event: Event, out: SseWriter) -> None:
        nonlocal clock, ticks
        match event:
            case Message():
                out.send(event.payload.decode())
            case Timer() if event.id == start:
                bus.publish("room", "ping")
                clock = timers.every(0.02)
            case Timer():
                ticks += 1
                if ticks == 3:
                    timers.cancel(clock)
                    bus.unsubscribe("room")
                    out.send(str(bus.publish("room", "unheard")))

    return Sse(hear)


def settings() -> Response:
    """The manifest's value for `greeting`; the log says that it was asked for."""
    logging.warning("the greeting was asked for")
    return f"{config.get('greeting', 'none')}\n"


def upload(request: Request) -> Response:
    """Counts the bytes of a body of any size without keeping them."""
    return f"{sum(len(piece) for piece in request.body())}\n"


def repeat(message: str | bytes, out: Sender) -> None:
    """Sends each message back."""
    out.send(message)


def use_database() -> Response:
    """Values that come and go in a transaction on the database `demo`, and the SQLSTATE of a wrong statement."""
    try:
        database = sql.Database("demo")
    except Refused:
        return Buffered("refused\n", status=409)
    with database.begin() as transaction:
        transaction.execute(
            "create temp table demo (id int8, name text, data bytea, price numeric, half float8, yes bool) on commit drop"
        )
        values = [-7, None, b"\x00\xff", Decimal("12.50"), -0.5, True]
        count = transaction.execute("insert into demo values ($1, $2, $3, $4, $5, $6)", values)
        rows = [dict(row) for row in transaction.query("select * from demo")]
    for row in rows:
        row["data"] = list(row["data"])
    try:
        database.query("select * from demo")
    except sql.Fault as fault:
        return Json({"count": count, "rows": rows, "fault": fault.code})
    return Buffered("the table is still there\n", status=500)


def use_store(request: Request, operation: str) -> Response:
    """One operation on the store `store` (`demo`): on `key`, with the body as the value. An error is 409 with its name."""
    value = request.body().read_all()
    try:
        bucket = store.Bucket(request.query_param("store", "demo"))
        return operate(bucket, operation, dict(request.query_pairs), value)
    except TooLarge as error:
        return Buffered(f"too-large {error.limit}\n", status=409)
    except Error as error:
        names = {Closed: "closed", TimedOut: "timeout", Refused: "refused"}
        return Buffered(f"{names.get(type(error), 'internal')}\n", status=409)


def operate(bucket: store.Bucket, operation: str, query: dict[str, str], value: bytes) -> Response:
    key = query.get("key", "")
    seconds = int(query["ttl"]) / 1000 if "ttl" in query else None
    match operation:
        case "get":
            found = bucket.get(key)
            return Buffered(b"", status=404) if found is None else found
        case "set":
            bucket.set(key, value, ttl=seconds)
            return "done\n"
        case "set-if":
            return flag(bucket.set_if(key, query.get("expected"), value, ttl=seconds))
        case "delete":
            return flag(bucket.delete(key))
        case "exists":
            return flag(bucket.exists(key))
        case "increment":
            return f"{bucket.increment(key, int(query.get('by', '1')))}\n"
        case "keys":
            page = bucket.keys(key, query.get("cursor"), int(query.get("limit", "0")))
            return Json({"keys": page.keys, "cursor": page.cursor})
    return Buffered("there is nothing here\n", status=404)


def flag(value: bool) -> Response:
    return "true\n" if value else "false\n"
