"""Metrics as a process of ours shows them."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.eventually import eventually
from tests.support.plain import NO_CERTIFICATES
from tests.support.processes import ReachProcess
from tests.support.promises.running import everything

START_SECONDS = 30


async def port_of(process: ReachProcess) -> int:
    """Wait until a process says that its metrics can be scraped, and where."""

    def lines() -> list[dict[str, Any]]:
        written = everything(process).splitlines()
        found = [json.loads(line) for line in written if line.startswith("{")]
        return [line for line in found if line["message"] == "metrics served"]

    await eventually(lambda: lines() or process.exit_code is not None, START_SECONDS, 0.02)
    (line,) = lines()
    return int(line["server"]["port"])


def scrape(port: int) -> Mapping[str, float]:
    """Ask once for all metrics: the value of each series, by name and sorted labels."""
    answer = httpx.get(
        f"http://127.0.0.1:{port}/metrics", verify=NO_CERTIFICATES, trust_env=False, timeout=10
    )
    assert answer.status_code == httpx.codes.OK
    return parsed(answer.text)


def parsed(text: str) -> Mapping[str, float]:
    """Read what was scraped."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{text}"' for name, text in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
