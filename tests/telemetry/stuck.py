"""`reach`, whose event loop a signal can stop: SIGUSR1, until SIGUSR2.

The handler of a signal runs in the loop's own thread, and waits there as any call would that should
not have been made there. All other threads go on, which SIGSTOP would stop too.
"""

import signal

from reach.__main__ import main


def block(*_: object) -> None:
    """Wait, in whatever thread this is."""
    signal.sigwait({signal.SIGUSR2})


# Also in the processes that `reach api --processes` starts: they import this module anew.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
signal.signal(signal.SIGUSR1, block)

if __name__ == "__main__":
    main()
