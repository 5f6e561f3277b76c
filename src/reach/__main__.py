"""`python -m reach` is `reach`."""

import gc
import sys

INTERRUPTED = 130
#: Python's collector looks when there are so many new objects that did not end by themselves: the
#: imports alone make 200,000, all of which stay, and were looked through fifty times over. Here,
#: and not in ``main``: the processes of ``reach api`` begin with this module too.
gc.set_threshold(10_000)


def main() -> None:
    """Run the command. Ctrl-C ends it, from the first import on, without a traceback."""
    try:
        from reach import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
