"""`reach`, whose event loop a signal can stop: SIGUSR1, until SIGUSR2; SIGHUP for good.

The handler of a signal runs in the loop's own thread, and waits there as any call would that should
not have been made there. All other threads go on, which SIGSTOP would stop too; but not after
SIGHUP, which makes a call that keeps Python's lock.
"""

import ctypes
import signal

from reach.__main__ import main
from reach.runtime import server

#: For tests; each is half a second.
server.MOST_SILENT_ROUNDS = 20
A_LONG_TIME_SECONDS = 600


def block(*_: object) -> None:
    """Wait, in whatever thread this is."""
    signal.sigwait({signal.SIGUSR2})


def keep_the_lock(*_: object) -> None:
    """Wait in C, as a library would that does not let others run meanwhile."""
    ctypes.PyDLL(None).sleep(A_LONG_TIME_SECONDS)


# Also in the processes that `reach api --processes` starts: they import this module again.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
signal.signal(signal.SIGUSR1, block)
if __name__ != "__main__":  # their parent takes it for the wish to have them replaced
    signal.signal(signal.SIGHUP, keep_the_lock)

if __name__ == "__main__":
    main()
