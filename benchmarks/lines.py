"""What a line of the log takes: `python -m benchmarks.lines`, some seconds.

Processor time of a request's line from the call until it is written, the writer's thread included;
and, beside it, of ecs-logging's formatter alone for the same fields.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import ecs_logging
import structlog

from reach.telemetry import logging, traces
from reach.telemetry.log_lines import JsonLines, Told

LINES, ROUNDS = 5_000, 7
#: So many are told at once; then there is time to write them, as between requests.
BURST, REST_SECONDS = 500, 0.03
REQUEST: dict[str, object] = {
    "request_id": "0195b8e0aaaabbbbccccddddeeeeffff",
    "method": "POST",
    "route": "/v1/signups",
    "status": 202,
    "nanoseconds": 4_123_456,
    "reason": None,
}


def main() -> None:
    """Measure both, in turns, and print the medians."""
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        writer = logging.configure("info", nowhere)
        log = structlog.get_logger("reach.app")
        traces.current.set(traces.of_request([]))
        fields = json.loads(JsonLines()(Told("reach.app", "info", "request", REQUEST, time.time())))
        formatter = ecs_logging.StructlogFormatter()

        def tell() -> None:
            log.info("request", **REQUEST)

        def format_it() -> None:
            formatter(None, "info", {**fields, "event": "request"})

        ours, its_own = [], []
        for _ in range(ROUNDS):
            ours.append(microseconds(tell))
            its_own.append(microseconds(format_it))
        assert writer.flush(10)
    print(f"a request's line, until it is written   {statistics.median(ours):5.1f} µs")
    print(f"ecs-logging's formatter alone           {statistics.median(its_own):5.1f} µs")


def microseconds(fn: Callable[[], None]) -> float:
    """Say what one call takes of the processor, with what threads do meanwhile."""
    began = time.process_time()
    for _ in range(LINES // BURST):
        for _ in range(BURST):
            fn()
        time.sleep(REST_SECONDS)
    return (time.process_time() - began) / LINES * 1e6


if __name__ == "__main__":
    main()
