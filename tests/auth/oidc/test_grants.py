"""What the provider says of somebody, and what they may do for it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from reach.auth.keys import SCOPES
from reach.auth.oidc.grants import Grants, values_of
from reach.settings import BadSettings, Settings

#: What a value in a setting can be: no ";" and no line's end, and nothing that would be trimmed.
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1).filter(
    lambda text: ";" not in text
)
RULES = st.dictionaries(VALUES, st.sets(st.sampled_from(SCOPES), min_size=1), min_size=1)
#: What a provider may say, beside texts.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def grants(text: str, claim: str = "email") -> Grants:
    """Read them as a process does at its start."""
    return Grants.of(
        Settings(
            oidc_issuer="https://login.example.org",
            oidc_client_id="reach",
            oidc_claim=claim,
            oidc_grants=text,
        )
    )


@given(rules=RULES, others=st.lists(ANYTHING, max_size=3), data=st.data())
@how(max_examples=60, deadline=None, database=None, derandomize=True)
def test_who_has_values_may_do_all_that_they_grant_and_no_more(
    rules: dict[str, set[str]], others: list[Any], data: st.DataObject
) -> None:
    """Whatever else is in the claim: the union over its texts, by the rule of each."""
    text = "; ".join(f"{value}={','.join(sorted(scopes))}" for value, scopes in rules.items())
    mine = data.draw(st.sets(st.sampled_from(sorted(rules))))
    found = grants(text, "groups").granted({"groups": [*mine, *others]})
    texts = {*mine, *(other for other in others if isinstance(other, str))}
    assert found == set().union(*(rules.get(value, set()) for value in texts))


@given(claims=st.dictionaries(st.sampled_from(["a", "b", "a.b", "email"]), ANYTHING))
@how(max_examples=60, deadline=None, database=None, derandomize=True)
def test_whatever_is_claimed_grants_no_scope_that_there_is_not(claims: dict[str, Any]) -> None:
    """A provider's claims are of any shape; what they grant is a set of scopes, or nothing."""
    for claim in ("a", "a.b", "email"):
        made = grants("x=*", claim)
        assert made.granted(claims) <= set(SCOPES)
        assert isinstance(made.can_tell(claims), bool)


@pytest.mark.parametrize(
    ("verified", "counts"),
    [(True, True), ("true", True), (False, False), ("false", False), (1, False), (None, False)],
)
def test_an_address_counts_once_it_is_verified(verified: object, counts: bool) -> None:
    """Else anybody could have an account with your address at the provider."""
    claims = {"email": "Ada@Example.org", "email_verified": verified}
    assert bool(grants("ada@example.org=people:read").granted(claims)) is counts
    assert not grants("ada@example.org=people:read").granted({"email": "ada@example.org"})


def test_an_address_is_no_other_that_looks_like_it() -> None:
    """Capital letters are those of ASCII: what else becomes one of them, is another's."""
    given = grants("mike@example.org=*; MAX@example.org=*")
    for email, counts in (("Mike@EXAMPLE.org", True), ("mi\u212ae@example.org", False)):
        assert bool(given.granted({"email": email, "email_verified": True})) == counts
    assert given.granted({"email": "max@example.org", "email_verified": True})


def test_of_other_claims_every_letter_counts() -> None:
    """``Ops`` and ``ops`` are two groups."""
    assert grants("Ops=*", "groups").granted({"groups": ["Ops"]}) == set(SCOPES)
    assert not grants("Ops=*", "groups").granted({"groups": ["ops"]})


def test_a_claim_in_a_claim() -> None:
    """As Keycloak has roles; a claim whose own name has the dots comes first, as Auth0 has them."""
    claims = {"realm_access": {"roles": ["ops"]}, "https://example.org/roles": ["admin"]}
    assert values_of(claims, "realm_access.roles") == ["ops"]
    assert values_of(claims, "https://example.org/roles") == ["admin"]
    assert values_of(claims, "realm_access.roles.more") == []


def test_a_name_of_ldap_is_a_value() -> None:
    """Its own ``=`` are no end of it."""
    made = grants("cn=ops,ou=groups,dc=example=people:read, messages:read", "groups")
    found = made.granted({"groups": "cn=ops,ou=groups,dc=example"})
    assert found == {"people:read", "messages:read"}


def test_a_scope_that_there_is_not_is_refused_at_the_start() -> None:
    """With its name and those that there are; the address beside it is not repeated."""
    with pytest.raises(BadSettings) as refused:
        grants("canary@example.org=people:read,people:reed")
    assert "people:reed" in str(refused.value)
    assert "people:read" in str(refused.value)
    assert "canary" not in str(refused.value)
