"""Names that only a test knows, as ``/etc/hosts`` would: that file is not a test's to change.

    with hosts({"mail.test": ("::1", "127.0.0.1")}):        # in this order
        …
    with hosts({"lost.test": None}):                        # its name servers are silent
        …

For the test's own process; a process that it starts gets ``environment_with(folder, names)``.
uvloop's own look-ups, in C, do not see these names: what Reach connects to by name, it looks up by
``socket.getaddrinfo``.
"""

import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reach.network import sockets
from tests.support.root import ROOT

VARIABLE = "TEST_HOSTS"
#: Python runs a module of this name before it runs anything else.
START = f"""
import json, os, sys
sys.path.append({str(ROOT)!r})
from tests.support.hosts import install
install(json.loads(os.environ[{VARIABLE!r}]))
"""

#: The addresses of each name; empty: it does not exist; None: nobody answers.
Names = Mapping[str, Sequence[str] | None]


@contextmanager
def hosts(names: Names) -> Iterator[None]:
    """Know these names in this process, and nothing of what was dead earlier."""
    real, silence = socket.getaddrinfo, install(names)
    sockets._silent.clear()
    sockets._lost.clear()
    try:
        yield
    finally:
        silence.set()
        socket.getaddrinfo = real


def install(names: Names) -> threading.Event:
    """Know these names from now on; give what ends the silence of those that are silent."""
    real, silence = socket.getaddrinfo, threading.Event()

    def getaddrinfo(host: Any, port: Any, *given: Any, **named: Any) -> Any:
        options = dict(zip(("family", "type", "proto", "flags"), given, strict=False)) | named
        if host not in names or options.get("flags", 0) & socket.AI_NUMERICHOST:
            return real(host, port, **options)
        addresses = names[host]
        if addresses is None:
            silence.wait()
        found = []
        for address in addresses or ():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            if options.get("family", 0) in (0, family):
                found += real(address, port, **options)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    socket.getaddrinfo = getaddrinfo
    return silence


def environment_with(folder: Path, names: Names) -> dict[str, str]:
    """Make what a process of Reach needs in its environment to know these names."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(START)
    path = os.pathsep.join((str(folder), str(ROOT / "src")))
    return {"PYTHONPATH": path, VARIABLE: json.dumps(names)}
