"""Where people may have addresses beyond what the public net has, and who may sign up."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from reach.network.hosts import EVERYWHERE, NOWHERE, Domains, is_intranet
from reach.people.address import parse_address, stored_recipient
from reach.settings import Settings
from reach.smtp.session import unsendable
from tests.support.clock import eventually
from tests.support.forms import ENDPOINTS
from tests.support.messages import a_composer, a_message
from tests.support.people import everybody, operator, owed
from tests.support.processes.reach import ADA, running_reach, running_worker
from tests.support.servers.mail import MailServer

ALLOWED = ".local, .home.arpa corp.internal,mailhost  .BÜCHER.lan 10.test"
#: As typed; the recipient.
TAKEN = {
    "ada@printer.local": "ada@printer.local",
    "Ada@A.b.LOCAL": "Ada@a.b.local",
    "ada@nas.home.arpa": "ada@nas.home.arpa",
    "ada@corp.internal": "ada@corp.internal",
    "ada@mailhost": "ada@mailhost",
    "ada@MailHost": "ada@mailhost",
    "ada@x.bücher.lan": "ada@x.xn--bcher-kva.lan",
    "ada@bücher.local": "ada@xn--bcher-kva.local",
    "ada@10.test": "ada@10.test",
    "ada@example.com": "ada@example.com",
}
REFUSED = [
    *(
        "ada@local",
        "ada@home.arpa",
        "ada@1.0.0.127.in-addr.arpa",
        "ada@localhost",
        "ada@x.mailhost1",
    ),
    *(
        "ada@mailhost.localhost",
        "ada@a.10.test",
        "ada@printer.local.",
        "ada@-a.local",
        "ada@a_b.local",
    ),
    *(
        "ada@.local",
        "ada@a..local",
        "a da@printer.local",
        "ada@ab--c.local",
        "ada@xn--zzzzzz.local",
    ),
    *("ada@printer。local", "ada@" + "d" * 64 + ".local", '"a"@printer.local', "ada@[127.0.0.1]"),
    *("ada@printer.local\n", "ada@b@printer.local", "@printer.local", "ada@nothost"),
]


@pytest.mark.parametrize("typed", TAKEN)
def test_an_intranet_domain_that_is_named_is_taken(typed: str) -> None:
    """In any spelling; one label too; and it goes on the envelope as machines write it."""
    intranet = Domains.parse(ALLOWED)
    assert parse_address(typed, intranet=intranet).recipient == TAKEN[typed]
    assert stored_recipient(typed) == TAKEN[typed]


@pytest.mark.parametrize("typed", REFUSED)
def test_what_is_not_named_is_refused_as_ever(typed: str) -> None:
    """So is what no domain can be, wherever it lies."""
    for smtputf8 in (False, True):
        with pytest.raises(ValueError, match="email address"):
            parse_address(typed, smtputf8=smtputf8, intranet=Domains.parse(ALLOWED))


@pytest.mark.parametrize(
    "text",
    ["*.local", ".", "a b@c", "corp..internal", "-a.local", "a_b", "http://corp", "x.", "é_é"],
)
def test_what_is_no_domain_is_refused(text: str) -> None:
    """With words that say how to write one."""
    with pytest.raises(ValueError, match=r"like example\.org, \.example\.org \(all below it\)"):
        Domains.parse(text)


def test_a_dot_before_a_name_means_below_it() -> None:
    """And not the name itself; without a dot, it means nothing else."""
    domains = Domains.parse("exact.example, .below.example")
    there = ["exact.example", "a.below.example", "b.a.below.example"]
    assert all(name in domains for name in there)
    missing = ["a.exact.example", "below.example", "notbelow.example", "example", "xbelow.example"]
    assert not any(name in domains for name in missing)
    assert not any(name in NOWHERE for name in there)
    assert all(name in EVERYWHERE for name in [*there, *missing, "local"])
    assert (bool(domains), bool(NOWHERE), bool(Domains.parse(" , "))) == (True, False, False)


LABELS = st.sampled_from(["a", "A1", "local", "LOCAL", "arpa", "home", "test", "corp", "bücher"])
TYPED = st.builds(
    lambda local, labels: f"{local}@{'.'.join(labels)}",
    st.text(st.sampled_from("aZ0.+-_'é\" ()"), min_size=1, max_size=8),
    st.lists(LABELS | st.text(max_size=3), min_size=1, max_size=4),
)


@hypothesis_settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(TYPED)
def test_whatever_is_taken_can_be_composed_and_sent(typed: str) -> None:
    """Headers and envelope know no other addresses than these; taken again, it is the same."""
    for smtputf8 in (False, True):
        try:
            found = parse_address(typed, smtputf8=smtputf8, intranet=EVERYWHERE)
        except ValueError:
            continue
        mail = a_composer().compose(a_message(recipient=found.recipient))
        assert unsendable(mail) is None
        again = parse_address(found.recipient, smtputf8=smtputf8, intranet=EVERYWHERE)
        assert (again.key, again.domain) == (found.key, found.domain)
        public = not is_intranet(found.domain)
        assert public == _is_taken(found.recipient, smtputf8=smtputf8)


def _is_taken(typed: str, *, smtputf8: bool) -> bool:
    try:
        parse_address(typed, smtputf8=smtputf8)
    except ValueError:
        return False
    return True


async def test_people_of_an_intranet_get_their_mail(
    settings: Settings, mail_server: MailServer
) -> None:
    """Added or signed up; what is owed goes out when the domain is no longer named."""
    changes = {"smtp_url": mail_server.url, "allow_domains": ".local,mailhost"}
    allowed = Settings.model_validate({**settings.model_dump(), **changes})
    async with running_reach(allowed) as reach, running_worker(allowed):
        http = await operator(reach)
        added = await http.post("/v1/people", json={**ADA, "email": "Ada@Printer.Local"})
        assert added.status_code == 201, added.text
        assert (await reach.sign_up("bob@mailhost")).status_code == 202
        await eventually(lambda: len(mail_server.recipients) == 2)
        again = await http.post("/v1/links", json={"email": "ada@printer.LOCAL"})
        assert again.status_code == 202
        await eventually(lambda: len(mail_server.recipients) == 3)
    later = Settings.model_validate({**allowed.model_dump(), "allow_domains": ""})
    async with running_reach(later) as reach, running_worker(later):
        http = await operator(reach)
        assert (await reach.sign_up("eve@printer.local")).status_code == 422
        (person,) = await everybody(http, q="ada@printer.local")
        change = await http.patch(f"/v1/people/{person['id']}", json={"name": "Ada L."})
        assert change.status_code == 200, change.text
        await eventually(lambda: len(mail_server.recipients) == 4)

        async def is_all_sent() -> bool:
            return {one["state"] for one in await owed(http)} == {"sent"}

        await eventually(is_all_sent)
    assert sorted(set(mail_server.recipients)) == ["Ada@printer.local", "bob@mailhost"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_only_some_domains_can_sign_up(settings: Settings, endpoint: str) -> None:
    """Others are told so beside the address, not which they are; operators add whom they like."""
    changes = {"only_domains": "example.org, .example.org"}
    async with running_reach(settings.model_copy(update=changes)) as reach:
        http = await operator(reach)
        for email in ("ada@example.org", "Ada@A.Example.ORG"):
            answer = await ENDPOINTS[endpoint](http, {**ADA, "email": email})
            assert answer.status_code in (202, 303), email
        added = await http.post("/v1/people", json={**ADA, "email": "ada@example.com"})
        assert added.status_code == 201
        for email in ("ada@example.com", "eve@example.com", "eve@notexample.org"):
            answer = await ENDPOINTS[endpoint](http, {**ADA, "email": email})
            assert answer.status_code == 422, email
            assert "Addresses at this domain cannot sign up here." in answer.text
            assert "example.org" not in answer.text.replace(email, "")
            if endpoint == "API":
                assert [error["pointer"] for error in answer.json()["errors"]] == ["/email"]
        assert len(await everybody(http)) == 3
        assert (await http.post("/v1/links", json={"email": "ada@example.com"})).status_code == 202


@pytest.mark.parametrize(
    ("only", "allowed", "lonely"),
    [
        ("corp.internal", "", ""),
        ("example.org,mailhost", "", "mailhost"),
        ("mailhost", "mailhost", ""),
        (".local", "", ".local"),
        (".local", "mail.local", ""),
        (".local", ".mail.local", ""),
        ("a.local .b.local", ".local", ""),
        ("a.local .b.local", ".a.local", ".b.local, a.local"),
        (".corp", "", ""),
    ],
)
def test_nobody_is_asked_for_an_address_that_nobody_can_have(
    only: str, allowed: str, lonely: str
) -> None:
    """Else every sign-up would be refused: as one rule says, or as the other."""
    if not lonely:
        assert Settings(only_domains=only, allow_domains=allowed).sign_up_domains
        return
    words = f"REACH_ONLY_DOMAINS names {lonely}, where nobody can have an address"
    with pytest.raises(ValueError, match=words):
        Settings(only_domains=only, allow_domains=allowed)
