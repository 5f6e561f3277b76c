"""What processes count: this one, and those that are scraped."""

from collections.abc import Mapping
from typing import Any

import httpx
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from tests.support.clock import eventually
from tests.support.http.clients import NO_CERTIFICATES
from tests.support.lines import json_lines, whole_lines
from tests.support.processes.commands import ReachProcess

Series = tuple[str, frozenset[tuple[str, str]]]


def samples() -> dict[Series, float]:
    """Every series of this process, and its value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
    }


def value(name: str, **labels: str) -> float:
    """Tell what a series stands at; 0 if there is none yet."""
    # Of all that is counted only this: it is asked for many times a second.
    for metric in REGISTRY.restricted_registry([name]).collect():
        for sample in metric.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return 0.0


class Since:
    """What was counted since this was made."""

    def __init__(self) -> None:
        """Remember what had been counted by now."""
        self._before = samples()

    def of(self, name: str, **labels: str) -> float:
        """How far one series has moved."""
        before = self._before.get((name, frozenset(labels.items())), 0.0)
        return value(name, **labels) - before

    def all_of(self, name: str, *labels: str) -> Mapping[str | tuple[str, ...], float]:
        """How far each series of a name has moved, if it has; by the values of these labels."""
        found: dict[str | tuple[str, ...], float] = {}
        for series, now in samples().items():
            moved = now - self._before.get(series, 0.0)
            if series[0] == name and moved:
                given = dict(series[1])
                key = tuple(given[label] for label in labels)
                key = key[0] if len(key) == 1 else key  # type: ignore[assignment]
                found[key] = found.get(key, 0.0) + moved
        return found


START_SECONDS = 30


async def port_of(process: ReachProcess) -> int:
    """Wait until a process says that its metrics can be scraped, and where."""

    def lines() -> list[dict[str, Any]]:
        written = whole_lines(process.output) + whole_lines(process.errors)
        found = json_lines(line for line in written if line.startswith("{"))
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
