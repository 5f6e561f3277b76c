"""Lists as other products export them; the people are invented."""

from pathlib import Path

import pytest

from reach.people.newcomers import Newcomer
from reach.settings import Settings
from reach.transfer.importing.checking import NO_STATUS, Checker, Fault
from reach.transfer.importing.columns import BadColumns, choose, parse_map, require_email
from reach.transfer.importing.reading import BadFile, Dialect, Reader, opened

MAILCHIMP = """\
"Email Address","First Name","Last Name",Address,"Phone Number",MEMBER_RATING,OPTIN_TIME,OPTIN_IP,\
CONFIRM_TIME,CONFIRM_IP,LATITUDE,LONGITUDE,GMTOFF,DSTOFF,TIMEZONE,CC,REGION,LAST_CHANGED,LEID,EUID,\
NOTES,TAGS
nora.vale@example.com,Nora,Vale,,,2,"2021-03-04 10:11:12",192.0.2.7,"2021-03-04 10:15:00",192.0.2.7\
,,,,,,,,"2021-03-04 10:15:00",1001,a1b2,"met at the fair","""
MAILCHIMP += '"""News"",""VIP"""\n'
UNSUBSCRIBED = """\
"Email Address","First Name","Last Name",MEMBER_RATING,OPTIN_TIME,CONFIRM_TIME,LAST_CHANGED,\
UNSUB_TIME,UNSUB_CAMPAIGN_TITLE,UNSUB_CAMPAIGN_ID,UNSUB_REASON,UNSUB_REASON_OTHER,LEID,EUID,NOTES
tom.ash@example.com,Tom,Ash,2,"2020-01-02 03:04:05","2020-01-02 03:05:00","2022-05-06 07:08:09",\
"2022-05-06 07:08:09",May,77,NORMAL,,1002,c3d4,
"""
CLEANED = """\
"Email Address","First Name","Last Name",CLEAN_TIME,CLEAN_CAMPAIGN_TITLE,CLEAN_CAMPAIGN_ID,LEID
gone@example.com,Ida,Reed,"2022-05-06 07:08:09",May,77,1003
"""
GOOGLE = """\
First Name,Middle Name,Last Name,Nickname,Birthday,Notes,Photo,Labels,E-mail 1 - Label,\
E-mail 1 - Value,E-mail 2 - Label,E-mail 2 - Value,Phone 1 - Label,Phone 1 - Value
Zoë,de,Lune,,,owes me 5,,* myContacts,* Home,zoe@example.org ::: zoe2@example.org,,,Mobile,+1 555
"""
OLD_GOOGLE = """\
Name,Given Name,Additional Name,Family Name,Notes,Language,E-mail 1 - Type,E-mail 1 - Value
Ben Oak,Ben,,Oak,,,* Home,ben@example.org
"""
LISTMONK = """\
uuid,email,name,attributes,status,created_at,updated_at
2c1f0000-0000-4000-8000-000000000001,lea@example.net,Lea Fern,"{""city"": ""Bonn"", ""n"": 1}",\
enabled,2023-01-02T03:04:05.678901Z,2023-01-02T03:04:05.678901Z
2c1f0000-0000-4000-8000-000000000002,max@example.net,Max Elm,{},blocklisted,\
2023-01-02T03:04:05Z,2023-01-02T03:04:05Z
"""
EXCEL = "sep=;\r\nName;E-Mail;Sprache\r\nJörg Weiß;joerg@example.com;de\r\n\r\n;;\r\n"
SEVERAL = """\
email,name,status,subscription_status,UNSUB_TIME,CLEAN_TIME
a@example.com,A,enabled,unsubscribed,,
b@example.com,B,enabled,confirmed,,2022-01-01
c@example.com,C,enabled,unconfirmed,,
"""
NDJSON = """\
{"email": "amy@example.com", "name": "Amy", "attribs": {"a": [1]}, "status": "enabled"}

{"name": 5, "email": "five@example.com"}
[1]
{"email":
"""


def taken(
    folder: Path, content: bytes, *, confirmed: bool = True, mapped: str = "", **dialect: str
) -> list[str]:
    """Read a list, and write down what becomes of each row."""
    file = folder / "list.txt"
    file.write_bytes(content)
    with opened(str(file)) as stream:
        reader = Reader(stream, Dialect(**dialect), "-")  # type: ignore[arg-type]
        chosen = parse_map([mapped] if mapped else [])
        checker = Checker(Settings(), chosen, confirmed=confirmed, guarded=reader.format == "csv")
        return [
            _told(row.line, checker.check(row, checker.columns(list(row.cells) or reader.names)))
            for row in reader
        ]


def _told(line: int, found: object) -> str:
    if isinstance(found, Fault):
        return f"{line} {found.field}: {found.reason}"
    assert isinstance(found, Newcomer)
    parts = [found.email.typed, found.name, found.description, found.language]
    times = (found.consented_at, found.confirmed_at)
    parts += [f"{time:%Y-%m-%dT%H:%M}" for time in times if time]
    parts.append("confirmed" if found.is_confirmed else None)
    return f"{line} " + ", ".join(filter(None, parts))


BREAKING = """\
email,name,language,confirmed_at
no,A,,
a@example.com,,,
a@example.com,www.spam.example,,
a@example.com,A,Deutsch!,
a@example.com,A,,yesterday
a@example.com,A,,2999-01-01
a@example.com,A,,,more
"'=1+1@example.com",'-A,,
"""
LEFT = "They get no emails where this list is from: they left, or it bounced."
LISTS = {
    "mailchimp": (
        MAILCHIMP,
        ["2 nora.vale@example.com, Nora Vale, 2021-03-04T10:11, 2021-03-04T10:15, confirmed"],
    ),
    "mailchimp, unsubscribed": (UNSUBSCRIBED, [f"2 status: {LEFT}"]),
    "mailchimp, cleaned": (CLEANED, [f"2 status: {LEFT}"]),
    "google": (GOOGLE, ["2 zoe@example.org, Zoë de Lune, confirmed"]),
    "google, as it was": (OLD_GOOGLE, ["2 ben@example.org, Ben Oak, confirmed"]),
    "listmonk": (
        LISTMONK,
        [
            "2 lea@example.net, Lea Fern, confirmed",
            "3 status: They get no emails where this list is from: blocklisted.",
        ],
    ),
    "excel": (EXCEL, ["3 joerg@example.com, Jörg Weiß, confirmed"]),
    "a mark": (f"\ufeff{EXCEL[7:]}", ["2 joerg@example.com, Jörg Weiß, confirmed"]),
    "ndjson": (
        NDJSON,
        [
            "1 amy@example.com, Amy, confirmed",
            "3 name: it must be text",
            "4 : not a JSON object",
            "5 : not JSON",
        ],
    ),
    "not yet": (
        "email,name,status,confirmed_at\na@example.com,A,pending,\nb@example.com,B,enabled,\n",
        ["2 a@example.com, A", "3 b@example.com, B"],
    ),
    "left by one column of several": (
        SEVERAL,
        [
            "2 status: They get no emails where this list is from: unsubscribed.",
            f"3 status: {LEFT}",
            "4 c@example.com, C",
        ],
    ),
    "a word that may mean anything": (
        "\r\n\nemail,name,status\na@example.com,A,VIP\nb@example.com,B, Active \nc@example.com,C,",
        [
            f"4 status: {NO_STATUS.format('VIP')}",
            "5 b@example.com, B, confirmed",
            "6 c@example.com, C, confirmed",
        ],
    ),
    "a quotation mark too many": (
        'email,name,notes\na@example.com,A,"he\nb@example.com,B,"yes"\nc@example.com,C,\n',
        [
            "2 : a quotation mark within a cell must be doubled",
            "4 c@example.com, C, confirmed",
        ],
    ),
    "many columns of one name": (
        "email,name" + "," * 20_000 + "\na@example.com,A\n",
        ["2 a@example.com, A, confirmed"],
    ),
    "by the rules of a sign-up": (
        BREAKING,
        [
            "2 email: This is not an email address that mail can be sent to.",
            "3 name: A name is needed.",
            "4 name: A name must not hold an address or a link.",
            "5 language: It must be the code of a language, like de.",
            "6 confirmed_at: This is no time: write 2026-03-04T05:06:07Z.",
            "7 confirmed_at: This time cannot be.",
            "8 : more cells than columns",
            "9 =1+1@example.com, -A",
        ],
    ),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_other_products(tmp_path: Path, kind: str) -> None:
    """Their columns are known; who gets no emails there is not taken."""
    text, expected = LISTS[kind]
    assert taken(tmp_path, text.encode()) == expected


def test_nobody_is_confirmed_unless_it_is_said(tmp_path: Path) -> None:
    """A time in the list is kept with the consent; it confirms nobody by itself."""
    assert taken(tmp_path, MAILCHIMP.encode(), confirmed=False) == [
        "2 nora.vale@example.com, Nora Vale, 2021-03-04T10:11, 2021-03-04T10:15"
    ]


def test_encodings_of_excel(tmp_path: Path) -> None:
    """What is not UTF-8 is refused with the option that reads it; with it, it is read."""
    text = EXCEL[7:].replace(";", "\t")
    read = ["2 joerg@example.com, Jörg Weiß, confirmed"]
    for encoding, codec in (("cp1252", "cp1252"), ("utf-16", "utf-16")):
        with pytest.raises(BadFile, match=f"--encoding {encoding}"):
            taken(tmp_path, text.encode(codec))
        assert taken(tmp_path, text.encode(codec), encoding=encoding) == read


def test_columns_are_named(tmp_path: Path) -> None:
    """``--map`` says which; a list without addresses says which columns it has."""
    text = "Mailadresse|Vorname|Nachname\nada@example.com|Ada|King\n"
    names = text.partition("\n")[0].split("|")
    with pytest.raises(BadColumns, match="Columns are: Mailadresse, Vorname, Nachname"):
        require_email(choose(names, {}), names)
    with pytest.raises(BadColumns, match="There is no column Name"):
        taken(tmp_path, text.encode(), mapped="name=Name")
    for wrong, said in {
        "mail=Mailadresse": "fields are email",
        "email=": "email needs a column",
        "name= ": "name needs a column",
    }.items():
        with pytest.raises(ValueError, match=said):
            parse_map([wrong])
    vip = "email,name,status\na@example.com,A,vip\n"
    assert taken(tmp_path, vip.encode(), mapped="status=") == ["2 a@example.com, A, confirmed"]
    assert taken(tmp_path, text.encode(), mapped="name=Vorname+Nachname") == [
        "2 email: This is not an email address that mail can be sent to."
    ]


def test_a_quotation_mark_that_is_not_closed(tmp_path: Path) -> None:
    """It takes neither the rest of a large file into memory, nor that of a small one unseen."""
    for header in ("email,name", "email,notes"):
        for count in (1, 20_000):
            text = f'{header}\nada@example.com,"Ada\n' + "b@example.com,B\n" * count
            with pytest.raises(BadFile, match=r"begins on line 2 .* a quotation mark there"):
                taken(tmp_path, text.encode())
    with pytest.raises(BadFile, match=r"begins on line 2 .* over 1,048,576 characters"):
        taken(tmp_path, b"email,name\n" + b'"q\n",' * 300_000)
