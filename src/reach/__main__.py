"""`python -m reach` is `reach`."""

import gc
import sys

INTERRUPTED = 130
#: Python's collector looks when there are so many new objects that did not end by themselves. The
#: imports alone make 120,000, all of which stay: at its default, 700, they are looked through
#: again and again.
NEW_OBJECTS = 10_000


def main() -> None:
    """Run the command. Ctrl-C ends it, from the first import on, without a traceback."""
    gc.set_threshold(NEW_OBJECTS)
    try:
        from reach import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
