"""What a site can set is checked, and written down."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from docs.reference import chart
from reach.settings import Settings
from reach.settings.types import PREFIX, SERVERS
from tests.support.deploy.chart import CHART, LEAST, Refused, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
#: Settings that the chart gives by values of its own, or that no pod needs.
OWN = {
    *("public_url", "mail_from", "brand_name", "reply_to", "grace_seconds", "trusted_proxies"),
    *("database_url", "database_direct_url", "redis_url", "smtp_url", "secret_key"),
    *("smtp_ca_file", "templates_dir", "inbound_bind", "bounce_mailbox_url", "smtp_urls"),
    *("smtp_oauth_client_secret", "smtp_oauth_refresh_token"),
    *("host", "port", "metrics_host", "metrics_port", "processes", "worker_slots", "data_dir"),
    *(f"{server}_{part}" for server in SERVERS for part in ("user", "password")),
    *("dkim_selector", "dkim_domain", "dkim_private_key", "oidc_issuer", "oidc_client_secret"),
    *(f"bounces_{of}" for of in ("postmark_secret", "mailgun_key")),
    *(f"bounces_{of}" for of in ("resend_secret", "generic_secret")),
}
#: Written where the reverse proxy and monitoring are.
ELSEWHERE = ("edge.", "monitoring.")


def objects(schema: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """List every object of the schema that names its properties."""
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            yield where, schema
        for key, value in schema.items():
            yield from objects(value, f"{where}/{key}")


def test_nothing_that_is_not_known_can_be_set() -> None:
    """At any depth: a misspelt value would be ignored, and be missed in production."""
    found = dict(objects(SCHEMA))
    assert len(found) > 20
    assert [
        where for where, one in found.items() if one.get("additionalProperties") is not False
    ] == []


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"publicURL": "https://signup.example.com"}, "publicURL"),
        ({"api": {"replica": 2}}, "replica"),
        ({"worker": {"autoscaling": {"source": "prometheus"}}}, "source"),
        ({"settings": {"REACH_LIMIT_SINGUPS": "off"}}, "REACH_LIMIT_SINGUPS"),
        ({"settings": {"REACH_GRACE_SECONDS": 5}}, "REACH_GRACE_SECONDS"),
        ({"networkPolicy": {"smtp": {"port": [25]}}}, "port"),
        ({"extraEnv": [{"name": "REACH_LIMIT_API", "value": "off"}]}, "extraEnv"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"sidecars": [{"name": "proxy", "image": "proxy:1"}]}, "resources"),
        ({"emailTemplates": {"files": {"welcome.md": "Hi"}}}, "welcome.md"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_misspelt_value_is_refused_by_name(values: Any, word: str) -> None:
    """It is not left out in silence."""
    with pytest.raises(Refused, match=f"(?s)specifications of the schema.*{word}"):
        render({**LEAST, **values})


def test_every_setting_of_reach_can_be_set() -> None:
    """By a value of its own, or by its name in `settings`; and none that is not there."""
    named = set(SCHEMA["properties"]["settings"]["properties"])
    assert named == {f"{PREFIX}{name.upper()}" for name in set(Settings.model_fields) - OWN}


def test_the_schema_and_the_defaults_are_of_the_same_values() -> None:
    """Each has words, the same in values.yaml, in the schema and in the reference."""
    told = {one.name: one for one in chart.values()}
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert {name.split(".")[0] for name in told} == set(defaults)
    page = chart.written()
    for name, value in told.items():
        assert value.words, f"{name} has no words"
        assert f"| `{name}` | " in page
        if name.startswith(ELSEWHERE):
            continue
        at = SCHEMA
        for part in name.split("."):
            at = at["properties"][part]
        assert at["description"] == value.words, name
    for where, one in objects(SCHEMA):
        if where.endswith("/settings") or where.startswith("/$defs"):
            continue
        for name, value in one["properties"].items():
            is_kubernetes = "/items" in where
            assert "description" in value or "$ref" in value or is_kubernetes, f"{where}/{name}"


def test_no_default_is_left_out_of_the_reference() -> None:
    """Each line of values.yaml that has a value is one of them, or a part of one."""
    told = [one.name for one in chart.values()]
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    for name in _leaves(defaults):
        assert any(name == one or name.startswith(f"{one}.") for one in told), name


def _leaves(values: Any, before: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"


def test_the_readme_names_every_values_file() -> None:
    """And no other."""
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    files = {file.name for file in CHART.glob("values-*.yaml")}
    assert set(re.findall(r"^\| `(values-\w+\.yaml)` \|", readme, re.MULTILINE)) == files
