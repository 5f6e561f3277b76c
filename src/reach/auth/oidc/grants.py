"""What an operator may do, by what the provider says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from reach.auth.keys import SCOPES
from reach.settings import BadSettings, Settings
from reach.settings.oidc import EMAIL, EVERY_SCOPE, parse_grants

Claims = Mapping[str, Any]
VERIFIED = "email_verified"
LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


@dataclass(frozen=True, slots=True)
class Grants:
    """Scopes by the values of one claim. Of addresses, small and capital letters are the same."""

    claim: str
    scopes: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, settings: Settings) -> "Grants":
        """Read the settings. Raises BadSettings for a scope that there is not."""
        found: dict[str, frozenset[str]] = {}
        for grant in parse_grants(settings.oidc_grants):
            unknown = grant.scopes - {*SCOPES, EVERY_SCOPE}
            if unknown:
                raise BadSettings(
                    f"REACH_OIDC_GRANTS: no scope is called {', '.join(sorted(unknown))}. "
                    f"Scopes are {', '.join(SCOPES)}, and * for all of them"
                )
            every = EVERY_SCOPE in grant.scopes
            value = _as_compared(settings.oidc_claim, grant.value)
            more = frozenset(SCOPES) if every else grant.scopes
            found[value] = found.get(value, frozenset()) | more
        return cls(settings.oidc_claim, found)

    def can_tell(self, claims: Claims) -> bool:
        """Whether these claims say what is needed, be it that nothing is granted."""
        if self.claim == EMAIL and VERIFIED not in claims:
            return False
        return _find(claims, self.claim) is not None

    def granted(self, claims: Claims) -> frozenset[str]:
        """Give all that the values of the claim grant; an address counts once it is verified."""
        if self.claim == EMAIL and not _is_verified(claims):
            return frozenset()
        values = [_as_compared(self.claim, value) for value in values_of(claims, self.claim)]
        return frozenset().union(*(self.scopes.get(value, frozenset()) for value in values))


def values_of(claims: Claims, name: str) -> Sequence[str]:
    """List the texts in a claim: one, or a list of them. What is no text says nothing."""
    found = _find(claims, name)
    several = found if isinstance(found, list) else [found]
    return [value for value in several if isinstance(value, str)]


def _find(claims: Claims, name: str) -> Any:
    """Look a claim up by its name, which may have dots; then by each part, one in the other."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _is_verified(claims: Claims) -> bool:
    """Whether the provider has verified the address; some write the standard's ``true`` as text."""
    said = claims.get(VERIFIED)
    return said is True or said == "true"


def _as_compared(claim: str, value: str) -> str:
    if claim != EMAIL:
        return value
    # Of ASCII alone: the lower case of a kelvin sign is a k, and whose address that is another's.
    return value.strip().translate(LOWER)
