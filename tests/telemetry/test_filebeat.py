"""Filebeat's configurations, as far as they can be checked without a Filebeat."""

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import pytest
import yaml

from tests.support.root import ROOT
from tests.support.telemetry.elastic import ELASTIC, Json, read

DOCUMENTED = (ROOT / "docs" / "guides" / "elastic.md").read_text(encoding="utf-8")
FILES, KUBERNETES = "filebeat.yaml", "filebeat-kubernetes.yaml"

#: What the reference names, of that which a configuration like ours may need.
#: https://www.elastic.co/docs/reference/beats/filebeat/filebeat-input-filestream
INPUT = {
    *("type", "id", "paths", "parsers", "encoding", "exclude_files", "take_over.enabled"),
    *("file_identity.native", "file_identity.path", "file_identity.fingerprint"),
    *("prospector.scanner.symlinks", "prospector.scanner.check_interval"),
    *(f"prospector.scanner.fingerprint.{name}" for name in ("enabled", "offset", "length")),
}
PARSERS = {
    "ndjson": {
        *("target", "overwrite_keys", "expand_keys", "add_error_key", "message_key"),
        *("document_id", "ignore_decoding_error"),
    },
    "container": {"stream", "format"},
}
#: https://www.elastic.co/docs/reference/beats/filebeat/elasticsearch-output
OUTPUT = {
    *("hosts", "api_key", "index", "username", "password", "preset", "compression_level"),
    *("ssl.certificate_authorities", "non_indexable_policy.dead_letter_index.index"),
}
#: What adds to lines, or leaves some out.
LOSING = ("processors", "drop", "include_", "exclude_", "ignore_", "close", "clean", "tail_files")
SETUP = {"setup.template.enabled", "setup.ilm.enabled"}


def configuration(name: str) -> Json:
    """Read a configuration, every option by its name with dots."""
    text = (ELASTIC / name).read_text(encoding="utf-8")
    return dict(dotted(yaml.safe_load(text)))


def dotted(value: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List options as Filebeat names them: dots and nesting are the same to it."""
    for name, item in value.items():
        if isinstance(item, dict):
            yield from dotted(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item


def inputs(name: str) -> list[Json]:
    """Every input of a configuration."""
    found = configuration(name)
    if name == FILES:
        given = found["filebeat.inputs"]
    else:
        (provider,) = found["filebeat.autodiscover.providers"]
        (template,) = provider["templates"]
        given = template["config"]
    return [dict(dotted(one)) for one in given]


def output(name: str) -> Json:
    """The options of its output."""
    found = configuration(name)
    prefix = "output.elasticsearch."
    return {key.removeprefix(prefix): found[key] for key in found if key.startswith(prefix)}


@pytest.mark.parametrize("name", [FILES, KUBERNETES])
def test_every_option_is_one_that_filebeat_has(name: str) -> None:
    """No option is misspelt: Filebeat ignores those that it does not know."""
    others = {"filebeat.inputs", "filebeat.autodiscover.providers"}
    assert set(output(name)) <= OUTPUT
    top = {key for key in configuration(name) if not key.startswith("output.elasticsearch.")}
    assert top - others == SETUP
    for one in inputs(name):
        assert set(one) <= INPUT
        for parser in one["parsers"]:
            ((kind, options),) = parser.items()
            assert set(options) <= PARSERS[kind]


@pytest.mark.parametrize("name", [FILES, KUBERNETES])
def test_lines_become_documents_with_their_own_time(name: str) -> None:
    """Keys go to the root and win over Filebeat's; dots become objects; bad lines are marked."""
    (one,) = inputs(name)
    ndjson = one["parsers"][-1]["ndjson"]
    expected = {"target": "", "overwrite_keys": True, "expand_keys": True, "add_error_key": True}
    assert ndjson == expected
    assert one["type"] == "filestream"
    assert one["id"]


@pytest.mark.parametrize("name", [FILES, KUBERNETES])
def test_nothing_is_added_or_dropped(name: str) -> None:
    """No processor; every file from its beginning; what Elasticsearch refuses is kept."""
    text = (ELASTIC / name).read_text(encoding="utf-8")
    options = re.findall(r"^\s*(?:- )?([\w.]+):", text, re.MULTILINE)
    assert not [name for name in options if name.startswith(LOSING)]
    patterns = read("index-template.json")["index_patterns"]
    for place in ("index", "non_indexable_policy.dead_letter_index.index"):
        assert any(fnmatch(output(name)[place], pattern) for pattern in patterns)


def test_both_write_to_the_same_place() -> None:
    """Whichever one uses, the lines are found by the same searches."""
    assert output(FILES) == output(KUBERNETES)
    assert inputs(FILES)[0]["parsers"][-1] == inputs(KUBERNETES)[0]["parsers"][-1]


def test_containers_are_those_of_the_label() -> None:
    """Pods are found by ``app.kubernetes.io/name: reach``, and only their stdout is read."""
    (provider,) = configuration(KUBERNETES)["filebeat.autodiscover.providers"]
    (template,) = provider["templates"]
    assert template["condition"] == {
        "equals": {"kubernetes.labels.app_kubernetes_io/name": "reach"}
    }
    (one,) = inputs(KUBERNETES)
    assert "${data.kubernetes.container.id}" in one["id"]
    assert one["paths"] == ["/var/log/containers/*-${data.kubernetes.container.id}.log"]
    assert one["prospector.scanner.symlinks"] is True
    assert one["parsers"][0]["container"]["stream"] == "stdout"


def test_every_variable_is_documented() -> None:
    """docs/guides/elastic.md names each variable that a configuration reads."""
    for name in (FILES, KUBERNETES):
        text = (ELASTIC / name).read_text(encoding="utf-8")
        variables = set(re.findall(r"\$\{([A-Z_]+)[:}]", text))
        assert {"ELASTICSEARCH_URL", "FILEBEAT_API_KEY"} <= variables
        for variable in variables:
            assert f"`{variable}`" in DOCUMENTED
