from roadrunner_guest import Request, Response, handler


@handler
def hello(request: Request) -> Response:
    name = request.param("name", "world")
    return f"hello, {name}\n"
