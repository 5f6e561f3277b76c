"""Whose mailbox a report is about, in the spellings that mail servers have."""

import pytest

from reach.people.address import parse_address
from reach.reports.model import Verdict
from reach.reports.verdicts import verdict_on


@pytest.mark.parametrize(
    ("typed", "named", "is_same"),
    [
        ("Ada@Example.com", "<ada@EXAMPLE.com>", True),
        ("ada@Bücher.org", "ada@bücher.ORG", True),
        ("ada@bücher.org", "ada@xn--bcher-kva.org", True),
        ("ada@straße.org", "ada@straße.org", True),
        ("ada@straße.org", "ada@strasse.org", False),
        ("Ädä@example.com", "A\u0308da\u0308@example.com", True),
        ("Ädä@example.com", "ädä@example.com", False),
        ("a.da@example.com", '"a.da"@example.com.', True),
        ("ada@example.com", '"a da"@example.com', False),
        ("ada@example.com", "ada@xn--99999999999.example.com", False),
        ("ada@example.com", "@", False),
    ],
)
def test_an_address_is_known_as_it_is_spelled(typed: str, named: str, *, is_same: bool) -> None:
    """As a U-label or an A-label, in quotes that it does not need; but never another's."""
    recipient = parse_address(typed, smtputf8=True).recipient
    for verdict in (Verdict("bounced", "permanent", named), Verdict("delayed", None, None, named)):
        found = verdict_on(
            [Verdict("delivered", None, "b@example.net"), verdict], recipient, is_sure=False
        )
        assert found == (verdict if is_same else None)
