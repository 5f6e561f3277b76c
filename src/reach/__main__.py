"""`python -m reach` is `reach`."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command. Ctrl-C ends it, from the first import on, without a traceback."""
    try:
        from reach import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
