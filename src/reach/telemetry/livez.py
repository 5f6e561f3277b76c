"""Ask the process in this container whether it lives: `python -m reach.telemetry.livez`.

What an image's HEALTHCHECK runs, where there is no shell and no curl. It needs nothing of Reach's,
so that it is quick.
"""

import http.client
import os
import sys

ANSWER_SECONDS = 4.0


def main() -> None:
    """Exit with 0 if it lives, else with 1 and a line that says why not."""
    port = os.environ.get("REACH_METRICS_PORT", "")
    host = os.environ.get("REACH_METRICS_HOST", "").strip("[]")
    if not port.isdecimal():
        sys.exit("REACH_METRICS_PORT is not set: nothing can be asked")
    # Linux takes the address that stands for all of this machine's (0.0.0.0, ::) for loopback.
    host = host or "127.0.0.1"
    connection = http.client.HTTPConnection(host, int(port), timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"No answer from port {port}: {type(error).__name__}")
    if status != http.client.OK:
        sys.exit(f"It is stuck: /livez says {status}")


if __name__ == "__main__":
    main()
