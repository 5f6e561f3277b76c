"""Headers by which a client may try to pass for another one, on every request a new one."""

from collections.abc import Iterator
from itertools import cycle

NAMES = (
    "X-Forwarded-For",
    "x-forwarded-for",
    "X_Forwarded_For",
    "X.Forwarded.For",
    "X-Forwarded_For",
    "X!Forwarded~For",
    "X-Real-IP",
    "X_Real_IP",
    "X-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Cluster-Client-IP",
    "Client-IP",
)


def spoofs(count: int) -> Iterator[list[tuple[str, str]]]:
    """Make up so many sets of headers, each of another client."""
    names = cycle((*NAMES, "Forwarded", "twice", "Connection"))
    for number in range(count):
        address = f"203.0.113.{number % 250 + 1}"
        match next(names):
            case "Forwarded":
                yield [("Forwarded", f"for={address};proto=https")]
            case "twice":
                yield [("X-Forwarded-For", address), ("X-Forwarded-For", f"{address}, 127.0.0.1")]
            case "Connection":  # asks the edge to drop its own word
                yield [("Connection", "X-Forwarded-For, X-Real-IP"), ("X-Forwarded-For", address)]
            case name:
                yield [(name, address)]
