"""The rules as they are shipped, with time made short: ten minutes pass in five seconds."""

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from tests.support.telemetry.rule_cases import RULES

FACTOR = 120
#: A scrape that is late says how busy the machine is that runs the tests, and not how Reach is: for
#: these, time is not made as short.
PATIENT, PATIENT_FACTOR = {"ReachNotScraped", "ReachProcessNotScraped"}, 10
#: In place of the 60 s within which mail should be sent. Divided like the rest it would be 0.5 s,
#: which a busy machine may take for nothing at all; buckets of the histogram have this bound.
IN_TIME_SECONDS = 2.5
UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DURATION = r"\d+[smhd]"
#: What is compared with an age.
AGE = re.compile(r"(?<=_age_seconds\) > )(\d+)")
IN_TIME = 'le=~"60([.]0)?"'

Rules = Mapping[str, Any]


def scaled(rules: Rules) -> Rules:
    """Divide every duration by FACTOR: windows, offsets, ``for``, and ages that are compared."""
    shorter = deepcopy(dict(rules))
    for group in shorter["groups"]:
        for rule in group["rules"]:
            rule["expr"] = _scaled_expression(rule["expr"])
            if "for" in rule:
                rule["for"] = _divided(rule["for"], factor_of(rule))
    return shorter


def factor_of(rule: Rules) -> int:
    """By what a rule's ``for`` is divided."""
    return PATIENT_FACTOR if rule.get("alert") in PATIENT else FACTOR


def _scaled_expression(text: str) -> str:
    text = re.sub(rf"(?<=\[){DURATION}(?=\])", lambda found: _divided(found[0]), text)
    text = re.sub(rf"(?<=offset ){DURATION}", lambda found: _divided(found[0]), text)
    text = AGE.sub(lambda found: f"{int(found[0]) / FACTOR:g}", text)
    return text.replace(IN_TIME, f'le="{IN_TIME_SECONDS}"')


def _divided(text: str, factor: int = FACTOR) -> str:
    return f"{int(text[:-1]) * UNITS_MS[text[-1]] // factor}ms"


def loud(rules: Rules) -> Rules:
    """Take those that are quiet beside their cause, and have them say what they see: ``Loud…``."""
    chosen = []
    for rule in rules["groups"][0]["rules"]:
        lines = rule["expr"].splitlines()
        kept = [line for line in lines if "_explained:" not in line and "ALERTS" not in line]
        if "alert" in rule and "_explained:" in rule["expr"]:
            chosen.append({**rule, "alert": f"Loud{rule['alert']}", "expr": "\n".join(kept)})
    return {"groups": [{"name": "loud", "rules": chosen}]}


def written(folder: Path) -> list[Path]:
    """Write both into files for a Prometheus."""
    shipped = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    files = {"scaled.yaml": scaled(shipped), "loud.yaml": scaled(loud(shipped))}
    for name, rules in files.items():
        (folder / name).write_text(yaml.safe_dump(rules), encoding="utf-8")
    return [folder / name for name in files]
