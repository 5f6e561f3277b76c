"""Reaching a server by its name: `names` looks it up, `sockets` connects to the first to answer."""
