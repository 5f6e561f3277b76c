"""What compose.yaml needs before anything else can start: `prepare.py SOURCE TARGET PUBLIC_URL`.

Secrets are made once, and kept. The configurations of deploy/traefik and deploy/prometheus are
adapted each time, in what they mark ADAPT and nothing else: no limit and no rule is written
twice. Whatever reads a file has a volume of its own; so files are for all to read.
"""

import secrets
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

KEY_BYTES = 32


class Adrift(Exception):
    """A configuration no longer says what is to be adapted; ``args[0]`` says which."""


def main(source: Path, target: Path, public_url: str) -> None:
    """Write everything."""
    password = once(target / "postgres" / "password")
    once(target / "reach" / "secret-key")
    once(target / "grafana" / "admin-password")
    url = f"postgresql://reach:{password}@postgres:5432/reach"
    write(target / "reach" / "database-url", url)
    edge = (source / "traefik/dynamic/reach.yaml").read_text(encoding="utf-8")
    write(target / "edge" / "reach.yaml", adapted_edge(edge, urlsplit(public_url).hostname or ""))
    watching = (source / "prometheus/prometheus.yaml").read_text(encoding="utf-8")
    write(target / "prometheus" / "prometheus.yaml", adapted_prometheus(watching))
    shutil.copyfile(source / "prometheus/rules.yaml", target / "prometheus" / "rules.yaml")


def adapted_edge(text: str, name: str) -> str:
    """Have Traefik serve ``name``, by the service `api`, which names all its containers."""
    text = replaced(text, "Host(`signup.example.com`)", f"Host(`{name}`)", times=2)
    text = replaced(text, "          - url: http://127.0.0.1:8002\n", "")
    return replaced(text, "http://127.0.0.1:8001", "http://api:8000")


def adapted_prometheus(text: str) -> str:
    """Have Prometheus find the services by their names."""
    text = replaced(text, "127.0.0.1:9101", "api:9090")
    text = replaced(text, "127.0.0.1:9102", "worker:9090")
    return replaced(text, "127.0.0.1:9093", "alertmanager:9093")


def replaced(text: str, old: str, new: str, times: int = 1) -> str:
    """Replace what must be there so many times. Raises Adrift."""
    if text.count(old) != times:
        raise Adrift(f"{old!r} should be there {times} times")
    return text.replace(old, new)


def once(path: Path) -> str:
    """Make a secret, unless there is one; give it."""
    if not path.exists():
        write(path, secrets.token_urlsafe(KEY_BYTES))
    return path.read_text(encoding="ascii")


def write(path: Path, text: str) -> None:
    """Write a file whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.chmod(0o444)
    unfinished.replace(path)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    except Adrift as reason:
        sys.exit(f"prepare.py: {reason}")
