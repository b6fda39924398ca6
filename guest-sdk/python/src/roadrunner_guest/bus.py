"""Topics that join the sessions of one component owner. Nothing of another owner can be named."""

from .bindings import bus
from .errors import raised_by_host


def subscribe(topic: str) -> None:
    """Delivers later messages of this topic to this session as `Message` events. Raises `Refused`."""
    with raised_by_host():
        bus.subscribe(topic)


def unsubscribe(topic: str) -> None:
    """Ends a subscription."""
    bus.unsubscribe(topic)


def publish(topic: str, payload: str | bytes) -> int:
    """Sends to every session subscribed now, and returns how many there are. Never waits. Raises `Refused`."""
    with raised_by_host():
        receivers: int = bus.publish(topic, payload.encode() if isinstance(payload, str) else payload)
    return receivers
