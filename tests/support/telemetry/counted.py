"""What this process has counted, and how much of it since a test began."""

from collections.abc import Mapping

from prometheus_client import REGISTRY

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
    return REGISTRY.get_sample_value(name, labels) or 0.0


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
