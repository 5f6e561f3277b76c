"""`make watch`: a Prometheus on this machine that watches Reach, with the rules of this folder."""

import argparse
import contextlib
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path

RULES = Path(__file__).resolve().with_name("rules.yaml")
ANSWER_SECONDS = 3
MISSING = """\
There is no `prometheus` here. Install it:
  Debian, Ubuntu   sudo apt install prometheus   (as a service it takes port 9090: you can
                   `sudo systemctl disable --now prometheus`, this needs only the program)
  macOS            brew install prometheus
  elsewhere        https://prometheus.io/download/, and put it on the PATH
Until then, `reach check` and GET /v1/stats tell how Reach is."""
ABSENT = """\
No Reach shows its metrics at {url} yet. Start it in another terminal:
  make run METRICS_PORT={port}
"""
READY = """\
Prometheus watches {url}
  What is wrong    {origin}/alerts        nothing is red while all is well
  Who answers      {origin}/targets       `reach` must be UP
  Sign-ups         {origin}/graph?g0.expr=rate(reach_signups_total%5B1m%5D)&g0.tab=0
  Time to mail     {origin}/graph?g0.expr=reach_promised_to_sent_seconds_bucket&g0.tab=1
  Data             {folder}
docs/guides/monitoring.md says what to look at. Ctrl-C stops it."""


def main() -> None:
    """Say what is missing, or become Prometheus."""
    given = arguments()
    program = shutil.which("prometheus")
    if program is None:
        sys.exit(MISSING)
    url = f"http://127.0.0.1:{given.metrics_port}/metrics"
    folder = given.data_dir / "prometheus"
    if given.forget:
        shutil.rmtree(folder, ignore_errors=True)
    given.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    file = folder / "prometheus.yaml"
    file.write_text(configuration(given.metrics_port), encoding="utf-8")
    if not shows_reach(url):
        print(ABSENT.format(url=url, port=given.metrics_port))
    origin = f"http://127.0.0.1:{given.port}"
    print(READY.format(url=url, origin=origin, folder=folder), flush=True)
    os.execv(
        program,
        [
            program,
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{given.port}",
            "--log.level=warn",
        ],
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics-port", type=int, default=9090, help="Reach's")
    parser.add_argument("--port", type=int, default=9091, help="Prometheus's own")
    parser.add_argument("--data-dir", type=Path, default=Path("reach-data"))
    parser.add_argument("--forget", action="store_true", help="begin without what was seen before")
    return parser.parse_args()


def configuration(metrics_port: int) -> str:
    """Write Prometheus's configuration: JSON is YAML too."""
    return json.dumps(
        {
            "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "reach",
                    "static_configs": [{"targets": [f"127.0.0.1:{metrics_port}"]}],
                }
            ],
        },
        indent=2,
    )


def shows_reach(url: str) -> bool:
    """Whether a Reach answers there, and not something else."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with (
        contextlib.suppress(urllib.error.URLError, OSError),
        direct.open(url, timeout=ANSWER_SECONDS) as answer,
    ):
        return b"reach_build_info" in answer.read()
    return False


if __name__ == "__main__":
    main()
