"""Who can sign up can be mailed: the sign-up, the composer and the SMTP command take the same.

Lengths are octets (RFC 5321 §4.5.3.1, RFC 6531 §3.4): 64 before the @, 254 in all.
"""

from uuid import UUID

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from reach.db.transaction import Transaction
from reach.mail.compose import CannotCompose
from reach.people.address import SPECIAL_DOMAINS, parse_address, stored_recipient
from reach.people.model import people
from reach.settings import Settings
from reach.smtp.session import unsendable
from tests.support.clock import eventually
from tests.support.messages import a_composer, a_message
from tests.support.people import everybody, operator, owed
from tests.support.processes.reach import ADA, Reach, running_reach, running_worker
from tests.support.servers.mail import MailServer

D63 = "d" * 63
#: The longest domain beside a local part of 64 octets, and one octet more.
LONG, LONGER = (f"{D63}.{D63}.{'d' * n}.example" for n in (53, 54))
#: Addresses at the edge, and whether one octet more or less makes the difference.
AT_THE_EDGE: dict[str, tuple[str, bool]] = {
    "64 letters": (f"{'a' * 64}@example.com", True),
    "65 letters": (f"{'a' * 65}@example.com", False),
    "65 letters, the long way": (f"{'a' * 65}@bücher.example", False),
    "254 octets": (f"{'a' * 64}@{LONG}", True),
    "255 octets": (f"{'a' * 64}@{LONGER}", False),
    "a label of 63 octets once encoded": (f"a@{'ü' + 'b' * 55}.example", True),
    "a label of 64 octets once encoded": (f"a@{'ü' + 'b' * 56}.example", False),
    "a domain too long once encoded": (f"a@{'.'.join(['ü' * 30] * 7)}.com", False),
}
#: The same with ``smtputf8``.
WITH_SMTPUTF8: dict[str, tuple[str, bool]] = {
    "64 octets in 32 letters": (f"{'é' * 32}@example.com", True),
    "66 octets in 33 letters": (f"{'é' * 33}@example.com", False),
    "64 octets in 16 signs": ("\U00020000" * 16 + "@example.com", True),
    "68 octets in 17 signs": ("\U00020000" * 17 + "@example.com", False),
    "64 octets once composed": ("e\u0301" * 31 + "aa@example.com", True),
    "66 octets once composed": ("e\u0301" * 32 + "aa@example.com", False),
    "254 octets": (f"{'é' * 32}@{LONG}", True),
    "255 octets": (f"{'é' * 32}@{LONGER}", False),
}
COMPOSER = a_composer()

ATEXT = "abzABZ019!#$%&'*+/=?^_`{|}~-"
#: Before the @: ordinary words, long ones, and words of other alphabets.
LOCALS = st.lists(
    st.text(st.sampled_from(ATEXT), min_size=1, max_size=12)
    | st.sampled_from(
        [*("a" * n for n in (31, 62, 63, 64, 65)), "é" * 32, "é" * 33, "漢字", "\u0627"]
    )
    | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4),
    min_size=1,
    max_size=3,
).map(".".join)
LABELS = st.text(st.sampled_from("abzABZ019-"), min_size=1, max_size=12) | st.sampled_from(
    [*("d" * n for n in (61, 62, 63, 64)), "xn--bcher-kva", "xn--p1ai", "bücher", "ü" * 30, "ß"]
)
DOMAINS = st.builds(
    lambda labels, top: ".".join([*labels, top]),
    st.lists(LABELS, min_size=1, max_size=4),
    st.sampled_from(["com", "example", "xn--p1ai", "рф", "co.uk", "test", "c1", "1"]),
)
ADDRESSES = st.builds(lambda local, domain: f"{local}@{domain}", LOCALS, DOMAINS)


def is_sendable(recipient: str) -> bool:
    """Whether a mail to this recipient can be composed, and written in an SMTP command."""
    try:
        mail = COMPOSER.compose(a_message(recipient=recipient))
    except CannotCompose:
        return False
    return unsendable(mail) is None


def is_mailbox(recipient: str) -> bool:
    """Whether it is a ``Mailbox`` by the lengths of RFC 5321 and by email-validator's grammar.

    With the reasons why the sign-up refuses some of those that are: domains where no public mail
    gets (RFC 6761 and the like), domains of one label, quoted local parts, address literals.
    """
    local, _, domain = recipient.rpartition("@")
    labels = domain.split(".")
    if any(".".join(labels[n:]) in SPECIAL_DOMAINS for n in range(len(labels))):
        return False
    try:
        found = validate_email(recipient, check_deliverability=False, strict=True)
    except EmailNotValidError:
        return False
    same = f"{found.local_part}@{found.ascii_domain}" == recipient
    return same and len(local.encode()) <= 64 and len(recipient.encode()) <= 254


@pytest.mark.parametrize(("typed", "is_taken"), AT_THE_EDGE.values(), ids=AT_THE_EDGE)
@pytest.mark.parametrize("smtputf8", [False, True])
def test_at_the_edge(typed: str, is_taken: bool, smtputf8: bool) -> None:
    """What is one octet too long is refused, and in words; what just fits can be sent to."""
    if is_taken:
        assert is_sendable(parse_address(typed, smtputf8=smtputf8).recipient)
    else:
        with pytest.raises(ValueError, match="email address"):
            parse_address(typed, smtputf8=smtputf8)


@pytest.mark.parametrize(("typed", "is_taken"), WITH_SMTPUTF8.values(), ids=WITH_SMTPUTF8)
def test_octets_count_and_not_characters(typed: str, is_taken: bool) -> None:
    """A letter that is not ASCII takes two to four."""
    test_at_the_edge(typed, is_taken, smtputf8=True)


@settings(max_examples=500, derandomize=True, database=None, deadline=None)
@given(ADDRESSES)
@example("a" * 65 + "@example.com")
@example("é" * 33 + "@example.com")
def test_whatever_is_taken_can_be_composed_and_sent(text: str) -> None:
    """Everybody who is told to look into their inbox gets a mail, as far as it is ours to tell."""
    for smtputf8 in (False, True):
        try:
            found = parse_address(text, smtputf8=smtputf8)
        except ValueError:
            continue
        assert is_sendable(found.recipient)
        assert len(found.recipient.encode()) <= 254
        assert len(found.recipient.rpartition("@")[0].encode()) <= 64
        assert smtputf8 or found.recipient.isascii()
        # What was taken once is written the same ever after.
        assert stored_recipient(found.typed) == found.recipient


@settings(max_examples=500, derandomize=True, database=None, deadline=None)
@given(ADDRESSES)
@example("a" * 64 + f"@{LONG}")
@example("é" * 32 + f"@{LONG}")
def test_whatever_can_be_sent_to_is_taken(text: str) -> None:
    """Nobody whom a mail could reach is refused: but see ``is_mailbox``."""
    for smtputf8 in (False, True):
        wanted = is_mailbox(text) and is_sendable(text) and (smtputf8 or text.isascii())
        try:
            found = parse_address(text, smtputf8=smtputf8)
        except ValueError:
            assert not wanted
        else:
            assert not wanted or found.recipient == text


@pytest.mark.parametrize("path", ["/v1/signups", "/v1/people", "/v1/links"])
@pytest.mark.parametrize("smtputf8", [False, True])
async def test_no_endpoint_takes_what_cannot_be_mailed(
    settings: Settings, path: str, smtputf8: bool
) -> None:
    """Strangers and operators alike are told which field it is; nothing is stored, nothing owed."""
    cases = [*AT_THE_EDGE.values(), *(WITH_SMTPUTF8.values() if smtputf8 else ())]
    name = {} if path == "/v1/links" else {"name": "Ada"}
    async with running_reach(settings.model_copy(update={"smtputf8": smtputf8})) as reach:
        http = await operator(reach)
        for typed, is_taken in cases:
            answer = await http.post(path, json={"email": typed, **name})
            assert answer.is_success == is_taken, typed
            if not is_taken:
                assert [e["pointer"] for e in answer.json()["errors"]] == ["/email"]
        taken = sum(is_taken for _, is_taken in cases)
        assert len(await everybody(http)) == (0 if path == "/v1/links" else taken)


async def test_the_longest_address_gets_its_mail(reach: Reach, mail_server: MailServer) -> None:
    """254 octets, 64 of them before the @, through a real SMTP dialogue."""
    typed = AT_THE_EDGE["254 octets"][0]
    assert (await reach.http.post("/v1/signups", json={**ADA, "email": typed})).status_code == 202
    async with running_worker(reach.settings):
        await eventually(lambda: mail_server.recipients == [typed])
    http = await operator(reach)
    assert [message["state"] for message in await owed(http)] == ["sent"]


async def test_who_was_taken_before_can_still_change_their_record(
    reach: Reach, mail_server: MailServer
) -> None:
    """Earlier versions took longer addresses: a change is stored, and its email visibly failed."""
    http = await operator(reach)
    body = {**ADA, "welcome": False}
    person = (await http.post("/v1/people", json=body)).json()
    address = f"{'a' * 65}@example.com"

    def lengthen(tx: Transaction) -> None:
        is_theirs = people.c.id == UUID(person["id"])
        tx.execute(update(people).where(is_theirs).values(email=address, email_key=address))

    await reach.database.write(lengthen)
    changed = await http.patch(f"/v1/people/{person['id']}", json={"name": "Ada King"})
    assert (changed.status_code, changed.json()["name"]) == (200, "Ada King")
    async with running_worker(reach.settings):

        async def has_failed() -> bool:
            return [message["state"] for message in await owed(http)] == ["failed"]

        await eventually(has_failed)
    assert mail_server.recipients == []
