"""No advertising in names: web addresses are refused, however they are spelled; names are not."""

import timeit
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reach.people.advertising import top_level_domains
from reach.people.text import clean_description, clean_name
from tests.support.clock import eventually
from tests.support.people import everybody, operator
from tests.support.processes.reach import Reach, running_worker
from tests.support.servers.mail import MailServer


def _each(text: str) -> list[str]:
    return [one.strip() for line in text.strip().splitlines() for one in line.split("|")]


#: People, companies, degrees and slips of the pen that have a dot, many before what is a
#: top-level domain too: .ltd .med .kg .cloud .li .sc .ing .com .de .co .kim .am …
NAMES = _each(
    """
    ACME Inc.Ltd/Co | Dr. med. A.B. | St.John | J.R.R. Tolkien | Dr.med. Ada | O.K.Corral | Node.js
    St.Cloud | St. Cloud | Marie de St.Cloud | Dr.Kim | Mr.Wang | J.Li | X. Ai | J.R.Li | S.Kim
    C.-Y.Ng | H.Ma | Yu.Li | M.C.de Wit | Th.de Boer | A.de Vries | Prof.Dr.med.Dr.h.c. Müller
    Dr.rer.nat. Ada | Dipl.Ing. Ada | Dipl.-Ing. Ada | Mag.art. | Ada Lovelace, Ph.D
    Ada Lovelace, Ph.D. | Ada, M.Sc | Ada, M.Sc.IT | Ada, B.Com | Ada, M.Ed | Ada, M.Sc/Ph.D
    Ada, B.Ed/M.Ed | Ada, B.Tech | Ada, LL.M. | Ada, M.D. | King Jr. MD | Müller GmbH & Co.KG
    Müller GmbH&Co. KG | Shenzhen Lamp Co.Ltd | Shenzhen Lamp Co.,Ltd. | ACME Pty.Ltd
    ACME Pvt.Ltd. | ACME (P).Ltd | ACME S.A. | ACME S.p.A. | ACME Sp. z o.o. | ACME S.r.l.
    ACME A/S | ACME, Inc. | Smith & Bros.Co | Yahoo! | AT&T | 3M | A.I. | No. 1 | Sammy Davis Jr.
    Anna.Maria | Max.Muster | Ada... | Wait... what | Ada. | . | ... | Dr. | E.E. Cummings | Mr.Bean
    P.F.Chang | D.José | Jean.Noël | L.Škoda | Gal·la | ジョン・スミス | モーニング娘。'25
    モー娘。 | 藤岡弘、
    И.И. Ив\u0430н\u043eв | \u0410.\u0421.П\u0443шкин | Ю.Ли | द. शर\u094dमा | St.Gallen
    St.Pauli e.V. | Sto.Domingo | Fr.John | Wm.Blake | v1.0 | 1.5 | A.B./C.D. | Dr . Kim | J . Smith
    visit | www | biz | com | co. | Anna de | Ada: Countess
    """
)
#: As they are written; a path, a port or a full stop may follow.
WRITTEN = _each(
    """
    Free pharmaceuticals now visit xyz.biz | xyz.biz | XYZ.BIZ | Xyz.Biz now | (xyz.biz) | «xyz.biz»
    “xyz.biz” | xyz.biz! | xyz.biz. | xyz.biz, now | xyz.biz/now | xyz.biz:8080 | xyz.biz?now
    xyz.biz#now | xyz.biz_now | xyz.biz-now | xyz.biz—now | a-b.biz | 1-2.biz | 24.com
    buy.xyz.co.uk | xyz.co | xyz.io | xyz.biz.Best | xyz.biz.Pills | Dr.xyz.biz | St.xyz.biz
    Inc.xyz.biz | J.R.xyz.biz | Dr.com | inc.com | co.com | x.com | k.xyz | st.info | t.me/xyz
    t.co/xyz | l.ink/x | st.cloud/xyz | dr.li/xyz | xyz.pizza | cheap.pills.shop | asp.net
    booking.com | xyz.ltd
    """
)
#: Other alphabets, as people and as machines write them, and amid text without spaces.
ELSEWHERE = _each(
    """
    к\u0443пи.\u0440ф | к\u0443пи.\u0420Ф | xn--e1aybc.xn--p1ai | 例子.中国 | 例子。中国
    مثال.السعودية
    उदाहरण.भारत | 访问xyz.com领取 | 访问xyz.com | 今すぐxyz.bizへ
    \u0441\u0430йтxyz.biz\u0441\u0435йч\u0430\u0441 | пишит\u0435 xyz.\u0440ф! | xyz。biz
    """
)
#: Dots that look like dots, letters that look like letters, and what nobody sees.
DISGUISED = _each(
    """
    xyz\uff0ebiz | xyz｡biz | xyz﹒biz | xyz\u2024biz | \uff58\uff59\uff5a\uff0e\uff42\uff49\uff5a
    xyz.\U0001d41b\U0001d422\U0001d433 | xyz.b\u200biz | xyz\u200b.biz | xyz.\u2060biz
    xyz.bi\u00adz | xyz.b\u034fiz | xyz.ⓑⓘⓩ
    """
)
#: A dot that is kept apart.
APART = _each(
    """
    xyz . biz | xyz .biz | xyz\u3000.\u3000biz | xyz\u00a0.biz | xyz[.]biz | xyz (.) biz
    """
)
#: Names that are refused in error: with a space after the dot they are taken.
LOST = _each(
    """
    will.i.am | jane.li | john.kim | ACME.Inc | Smith.Family | a .NET group
    """
)
ADVERTISING = [*WRITTEN, *ELSEWHERE, *DISGUISED, *APART, *LOST]
#: What gets through, as the docs say: it is readable, and no mail program makes a link of it.
READABLE = _each(
    """
    xyz. biz | xyz dot biz | xyz,biz | xyz·biz | \u0445\u0443z.b\u0456z | xyz.b\u0336iz
    """
)


WORDS = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789"), min_size=2, max_size=9)


@pytest.mark.parametrize("name", NAMES)
def test_names_have_dots(name: str) -> None:
    """Initials, titles, degrees, legal forms."""
    assert clean_name(name) == name
    assert clean_name(f"Ada {name} Lovelace")


@pytest.mark.parametrize("name", ADVERTISING, ids=ascii)
def test_no_web_address_in_a_name(name: str) -> None:
    """However it is spelled, and whatever stands beside it; a description may have it."""
    for text in (name, f"Free {name} now", f"Dr. {name}"):
        with pytest.raises(ValueError, match="must not hold an address or a link"):
            clean_name(text)
    assert clean_description(name)


@pytest.mark.parametrize("name", ["jane.li", "ACME.Inc", "will.i.am", "Smith.Family"])
def test_who_is_refused_in_error_is_told_a_way(name: str) -> None:
    """With a space after each dot, as the refusal says, the name is taken."""
    with pytest.raises(ValueError, match="If it holds none, put a space after each dot"):
        clean_name(name)
    assert clean_name(name.replace(".", ". "))


@pytest.mark.parametrize("name", READABLE, ids=ascii)
def test_what_is_known_to_get_through(name: str) -> None:
    """A change here changes docs/guides/spam-protection.md too."""
    assert clean_name(name) == name


def test_every_top_level_domain_is_known() -> None:
    """Old ones and new ones, in either spelling; none is a rule, a comment or a second level."""
    known = top_level_domains()
    assert {"com", "biz", "de", "uk", "ck", "ltd", "med", "рф", "xn--p1ai", "中国"} <= known
    assert not {"js", "john", "co.uk", "", "*", "*.ck"} & known
    assert len(known) > 1400
    assert all(name == name.lower() and "." not in name and " " not in name for name in known)


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(
    WORDS,
    st.sampled_from(sorted(top_level_domains())),
    st.sampled_from(["{}", "buy {} now", "({})", "Dr. {}", "{}/x", "{},", "{}!", "J. {}", "a.{}"]),
    st.sampled_from([str.lower, str.upper, str.title]),
)
def test_any_word_before_any_top_level_domain(
    word: str, top: str, frame: str, case: Callable[[str], str]
) -> None:
    """Two letters or more that are no title, degree or legal form make a domain of it."""
    text = frame.format(f"{word}q.{top}")
    with pytest.raises(ValueError, match="must not hold an address or a link"):
        clean_name(case(text))


@pytest.mark.parametrize("path", ["/v1/signups", "/v1/people", "/"])
async def test_advertising_goes_into_no_subject(
    reach: Reach, mail_server: MailServer, path: str
) -> None:
    """At every endpoint: 422 with the field, and nothing is mailed; the name of a company is."""
    http = await operator(reach)

    async def sign_up(email: str, name: str) -> int:
        form = {"email": email, "name": name}
        if path == "/":
            return (await http.post(path, data=form)).status_code
        return (await http.post(path, json=form)).status_code

    assert await sign_up("eve@example.com", "Free pharmaceuticals now visit xyz.biz") == 422
    assert await sign_up("ada@example.com", "ACME Inc.Ltd/Co") in (201, 202, 303)
    async with running_worker(reach.settings):
        await eventually(lambda: mail_server.recipients == ["ada@example.com"])
    assert [one["name"] for one in await everybody(http)] == ["ACME Inc.Ltd/Co"]
    assert b"Subject: Welcome to Reach, ACME Inc.Ltd/Co\r\n" in mail_server.messages[0].content


async def test_a_changed_name_is_a_name(reach: Reach) -> None:
    """An operator's change, too: an email about a link bears it."""
    http = await operator(reach)
    person = (await http.post("/v1/people", json={"email": "a@example.com", "name": "A"})).json()
    answer = await http.patch(f"/v1/people/{person['id']}", json={"name": "visit xyz.biz"})
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/name"]


def test_an_ordinary_name_costs_next_to_nothing() -> None:
    """It is on the way of every sign-up: a name without a dot is not looked at for domains.

    Measured against itself with the dot, so that it holds on any machine.
    """
    without, with_dot = (
        min(timeit.repeat(partial(clean_name, name), number=2000, repeat=9))
        for name in ("Ada Lovelace", "Ada B. Lovelace")
    )
    assert without < with_dot * 0.75
