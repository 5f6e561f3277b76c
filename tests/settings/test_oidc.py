"""``REACH_OIDC_*``: refused at the start in clear lines, with no value repeated."""

import pytest

from reach.settings import BadSettings, load
from reach.settings.oidc import Grant, parse_grants

WHOLE = {
    "ISSUER": "https://login.example.org/realms/ops",
    "CLIENT_ID": "reach",
    "CLIENT_SECRET": "s",
    "GRANTS": "ada@example.org=*",
}


def set_all(patch: pytest.MonkeyPatch, **changes: str) -> None:
    """Set what is needed, but for what a test says."""
    for name, value in (WHOLE | changes).items():
        patch.setenv(f"REACH_OIDC_{name}", value)


def test_what_is_needed_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer, a client, its secret and who may sign in."""
    set_all(monkeypatch)
    settings = load()
    assert settings.oidc_issuer == WHOLE["ISSUER"]
    assert "s" not in repr(settings.oidc_client_secret)


@pytest.mark.parametrize(
    "issuer", ["http://127.0.0.1:9000", "http://localhost:9000/x", "https://[::1]/"]
)
def test_a_provider_on_this_machine_needs_no_https(
    issuer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To try it out."""
    set_all(monkeypatch, ISSUER=issuer)
    assert load().oidc_issuer == issuer


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ISSUER": "http://canary.example.org"}, "OIDC_ISSUER: must begin with https://"),
        ({"ISSUER": "https://canary.example.org?x=1"}, "OIDC_ISSUER: must have neither a ?"),
        ({"ISSUER": "https://canary.example.org#x"}, "OIDC_ISSUER: must have neither a ?"),
        ({"ISSUER": "canary.example.org"}, "OIDC_ISSUER: must be like https://"),
        ({"ISSUER": "https://u:canary@example.org"}, "OIDC_ISSUER: must hold no user"),
        ({"ISSUER": ""}, "OIDC_ISSUER must be set beside REACH_OIDC_CLIENT_ID"),
        ({"CLIENT_ID": ""}, "OIDC_CLIENT_ID must be set beside REACH_OIDC_ISSUER"),
        ({"GRANTS": ""}, "OIDC_GRANTS must be set beside REACH_OIDC_ISSUER"),
        ({"GRANTS": "canary@example.org"}, "OIDC_GRANTS: must be what the claim says"),
        ({"GRANTS": "canary@example.org="}, "OIDC_GRANTS: must be what the claim says"),
        ({"GRANTS": "=people:read"}, "OIDC_GRANTS: must be what the claim says"),
        ({"GRANTS": "canary=*; canary=people:read"}, "OIDC_GRANTS: says one thing twice"),
        ({"SCOPES": "email"}, "OIDC_SCOPES: must be scopes of OpenID Connect"),
        ({"SCOPES": 'openid can"ary'}, "OIDC_SCOPES: must be scopes of OpenID Connect"),
    ],
)
def test_what_cannot_be_is_refused(
    changes: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable's name, and without what was in it."""
    set_all(monkeypatch, **changes)
    with pytest.raises(BadSettings) as refused:
        load()
    assert f"REACH_{words}" in str(refused.value)
    assert "canary" not in str(refused.value)


def test_grants_may_stand_on_lines() -> None:
    """As a file or a chart has them, with blanks where people put them."""
    text = "\n ops = people:read , messages:read\n\n admins=*;\n"
    assert parse_grants(text) == [
        Grant("ops", frozenset(("people:read", "messages:read"))),
        Grant("admins", frozenset("*")),
    ]
