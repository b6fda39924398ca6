"""An app of Flask, as it is written for any server, and the one line that makes it a guest."""

import time

from flask import Flask, Response, request
from roadrunner_guest import client, wsgi

app = Flask(__name__)


@app.get("/hello")
def hello():
    return "hello from Flask\n", {"content-type": "text/plain"}


@app.get("/users/<name>")
def user(name):
    return {"name": name, "ask": request.args.get("ask")}


@app.post("/orders")
def order():
    order = request.get_json()
    return {**order, "count": order["count"] + 1}, 201


@app.post("/echo")
def echo():
    """Each piece goes back as it arrives."""
    stream = request.stream
    return Response(iter(lambda: stream.read1(65536), b""), mimetype="application/octet-stream")


@app.get("/ticks")
def ticks():
    def chunks():
        for number in range(1, 4):
            if number > 1:
                time.sleep(0.2)
            yield f"tick {number}\n"

    return Response(chunks(), mimetype="text/plain")


@app.get("/fetch")
def fetch():
    """Passes the answer of another server on: /fetch?url=https://example.com/. The manifest has to grant it."""
    try:
        answer = client.get(request.args["url"], timeout=5)
    except client.RequestError as error:
        return f"{error}\n", 502
    return Response(answer.iter_content(), answer.status_code, {"x-fetched": "yes"})


@app.post("/forward")
def forward():
    """Sends the body on as it arrives."""
    answer = client.post(request.args["url"], data=iter(lambda: request.stream.read1(65536), b""))
    return Response(answer.iter_content(), answer.status_code)


@app.get("/fails")
def fails():
    raise KeyError("a fault of the app")


wsgi.serve(app)
