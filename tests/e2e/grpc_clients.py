"""grpcio against a running server: the cases of gRPC's interoperability tests that apply, health and reflection.

grpc_clients.py ADDRESS FOLDER FOLDER [CERTIFICATE]

The folders have interop.proto and greeter.proto. With a certificate, the connection is over TLS.
"""

import sys
import threading
import time

import grpc

ADDRESS, FOLDERS, CERTIFICATE = sys.argv[1], sys.argv[2:4], sys.argv[4:]
sys.path += FOLDERS

interop, interop_services = grpc.protos_and_services("interop.proto")
greeter, greeter_services = grpc.protos_and_services("greeter.proto")

from google.protobuf.descriptor_pool import DescriptorPool  # noqa: E402
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # noqa: E402
    ProtoReflectionDescriptorDatabase,
)

PATIENCE = 20
SIZES = [31415, 9, 2653, 58979]


def connect(**options):
    options = [("grpc." + name, value) for name, value in options.items()]
    if not CERTIFICATE:
        return grpc.insecure_channel(ADDRESS, options)
    with open(CERTIFICATE[0], "rb") as file:
        return grpc.secure_channel(ADDRESS, grpc.ssl_channel_credentials(file.read()), options)


def fails(code, call, *arguments, **more):
    try:
        answer = call(*arguments, timeout=more.pop("timeout", PATIENCE), **more)
        if not hasattr(answer, "payload"):
            list(answer)
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        return error
    raise AssertionError(f"no error, and {code} was wanted")


def empty_unary(stub):
    assert stub.Empty(interop.Nothing(), timeout=PATIENCE) == interop.Nothing()


def large_unary(stub):
    answer = stub.Unary(interop.Ask(payload=bytes(271828), size=314159), timeout=PATIENCE)
    assert len(answer.payload) == 314159


def compressed_unary(stub):
    ask = interop.Ask(payload=bytes(271828), size=314159)
    answer, call = stub.Unary.with_call(ask, timeout=PATIENCE, compression=grpc.Compression.Gzip)
    assert len(answer.payload) == 314159
    assert call.code() == grpc.StatusCode.OK


def client_streaming(stub):
    asks = (interop.Ask(payload=bytes(size)) for size in [27182, 8, 1828, 45904])
    total = stub.Collect(asks, timeout=PATIENCE)
    assert (total.bytes, total.messages) == (74922, 4), total


def server_streaming(stub):
    answers = list(stub.Stream(interop.Plan(count=10000, size=10), timeout=PATIENCE))
    assert len(answers) == 10000 and all(len(answer.payload) == 10 for answer in answers)


class Asks:
    """Requests that are sent one by one."""

    def __init__(self):
        self.condition, self.asks, self.ended = threading.Condition(), [], False

    def send(self, ask):
        with self.condition:
            self.asks.append(ask)
            self.condition.notify()

    def end(self):
        with self.condition:
            self.ended = True
            self.condition.notify()

    def __iter__(self):
        return self

    def __next__(self):
        with self.condition:
            self.condition.wait_for(lambda: self.asks or self.ended)
            if self.asks:
                return self.asks.pop(0)
        raise StopIteration


def ping_pong(stub):
    asks = Asks()
    answers = stub.Echo(asks, timeout=PATIENCE)
    for size in SIZES:
        asks.send(interop.Ask(size=size))
        assert len(next(answers).payload) == size
    asks.end()
    assert list(answers) == [] and answers.code() == grpc.StatusCode.OK


def empty_stream(stub):
    answers = stub.Echo(iter(()), timeout=PATIENCE)
    assert list(answers) == [] and answers.code() == grpc.StatusCode.OK


def cancel_after_begin(stub):
    asks = Asks()
    answer = stub.Collect.future(asks, timeout=PATIENCE)
    answer.cancel()
    asks.end()
    assert answer.code() == grpc.StatusCode.CANCELLED


def cancel_after_first_response(stub):
    asks = Asks()
    answers = stub.Echo(asks, timeout=PATIENCE)
    asks.send(interop.Ask(size=31415))
    assert len(next(answers).payload) == 31415
    answers.cancel()
    asks.end()
    try:
        next(answers)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.CANCELLED, error
    else:
        raise AssertionError("a cancelled call goes on")


def timeout_on_sleeping_server(stub):
    ask = interop.Ask(delay_ms=60000)
    started = time.monotonic()
    fails(grpc.StatusCode.DEADLINE_EXCEEDED, stub.Unary, ask, timeout=0.3)
    fails(grpc.StatusCode.DEADLINE_EXCEEDED, stub.Echo, iter([ask]), timeout=0.3)
    assert time.monotonic() - started < 10


def custom_metadata(stub):
    metadata = (("x-echo", "test_initial_metadata_value"),)
    _, call = stub.Unary.with_call(interop.Ask(size=1), metadata=metadata, timeout=PATIENCE)
    assert ("x-echo", "test_initial_metadata_value") in [tuple(pair) for pair in call.initial_metadata()]


def status_code_and_message(stub):
    ask = interop.Ask(code=2, message="test status message")
    for error in [fails(grpc.StatusCode.UNKNOWN, stub.Unary, ask), fails(grpc.StatusCode.UNKNOWN, stub.Echo, iter([ask]))]:
        assert error.details() == "test status message", error.details()


def special_status_message(stub):
    message = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
    error = fails(grpc.StatusCode.UNKNOWN, stub.Unary, interop.Ask(code=2, message=message))
    assert error.details() == message, repr(error.details())


def unimplemented(stub, channel):
    fails(grpc.StatusCode.UNIMPLEMENTED, stub.Missing, interop.Nothing())
    for path in ["/interop.v1.Test/Nowhere", "/interop.v1.Nobody/Missing"]:
        fails(grpc.StatusCode.UNIMPLEMENTED, channel.unary_unary(path), b"")


def faults(stub):
    for kind, codes in [("TRAP", ["INTERNAL"]), ("MEMORY", ["RESOURCE_EXHAUSTED", "INTERNAL"]), ("SPIN", ["RESOURCE_EXHAUSTED"])]:
        answers = stub.Fail(interop.Trouble(after=2, kind=kind), timeout=PATIENCE)
        seen = 0
        try:
            for _ in answers:
                seen += 1
        except grpc.RpcError as error:
            assert error.code().name in codes, (kind, error)
        else:
            raise AssertionError(f"{kind}: the call did not fail")
        assert seen == 2, (kind, seen)


def pings(stub):
    """Keepalive pings more often than most servers like, under a call that is quiet."""
    channel = connect(keepalive_time_ms=1000, keepalive_permit_without_calls=1)
    quiet = interop_services.TestStub(channel).Unary(interop.Ask(size=1, delay_ms=4000), timeout=PATIENCE)
    assert len(quiet.payload) == 1
    channel.close()


def health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ["", "interop.v1.Test", "demo.v1.Greeter"]:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
    fails(grpc.StatusCode.NOT_FOUND, stub.Check, health_pb2.HealthCheckRequest(service="nobody"))
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="demo.v1.Greeter"), timeout=PATIENCE)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def reflection(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert {"interop.v1.Test", "demo.v1.Greeter", "grpc.health.v1.Health"} <= services, services
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("demo.v1.Greeter")
    assert [method.name for method in service.methods] == ["SayHello", "Count", "Chat"]
    assert service.FindMethodByName("SayHello").input_type.full_name == "demo.v1.HelloRequest"


def demo(channel):
    stub = greeter_services.GreeterStub(channel)
    assert stub.SayHello(greeter.HelloRequest(name="world"), timeout=PATIENCE).message == "Hello, world!"
    numbers = [reply.number for reply in stub.Count(greeter.CountRequest(to=3, pause=20), timeout=PATIENCE)]
    assert numbers == [1, 2, 3], numbers
    # Two at once: each hears the other.
    first, second = Asks(), Asks()
    heard_first, heard_second = stub.Chat(first, timeout=PATIENCE), stub.Chat(second, timeout=PATIENCE)
    heard_first.initial_metadata(), heard_second.initial_metadata()
    first.send(greeter.ChatMessage(text="one"))
    assert (next(heard_first).text, next(heard_second).text) == ("one", "one")
    second.send(greeter.ChatMessage(text="two"))
    assert (next(heard_first).text, next(heard_second).text) == ("two", "two")
    first.end(), second.end()
    assert list(heard_first) == [] and list(heard_second) == []


channel = connect(max_receive_message_length=-1)
stub = interop_services.TestStub(channel)
for case in [
    empty_unary, large_unary, compressed_unary, client_streaming, server_streaming, ping_pong, empty_stream,
    cancel_after_begin, cancel_after_first_response, timeout_on_sleeping_server, custom_metadata,
    status_code_and_message, special_status_message, faults, pings,
]:
    case(stub)
    print(case.__name__)
unimplemented(stub, channel)
health(channel)
reflection(channel)
demo(channel)
channel.close()
print("all is well")
