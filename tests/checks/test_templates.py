"""`reach check` renders every template as a worker would, before the first email fails of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from reach.checks.report import Finding
from reach.checks.templates import check_templates
from reach.mail.samples import DATA, sample_composer
from reach.people.link_requests import answer_some
from reach.settings import Settings
from tests.support.clock import eventually
from tests.support.database.stored import messages_in
from tests.support.people import add, operator
from tests.support.processes.reach import ADA, Reach

MakeSettings = Callable[..., Settings]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an operator's folder, empty."""
    found = tmp_path / "templates"
    found.mkdir()
    return found


@pytest.fixture
def checked(make_settings: MakeSettings, folder: Path) -> Callable[..., Any]:
    """Write files into the folder, and check it."""

    async def check(files: Mapping[str, str], **changes: Any) -> Finding:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        return await check_templates(make_settings(templates_dir=folder, **changes))

    return check


@pytest.mark.parametrize("changes", [{}, {"confirm": "required"}, {"secret_key": ""}])
async def test_our_own_are_well(make_settings: MakeSettings, changes: dict[str, str]) -> None:
    """Whatever the settings; no secret key is needed for it."""
    finding = await check_templates(make_settings(**changes))
    assert (finding.remedy, finding.advice) == ("", "")
    ours = "address-change, address-changed, already-signed-up, changed, confirm-address"
    assert finding.words == f"{ours}, manage-link, notice, webhook-disabled, welcome"


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("welcome.txt", "Hello\n{{ nmae }}\n", "welcome.txt, line 2: 'nmae' is undefined"),
        ("welcome.subject", "{{ nmae }}", "welcome.subject, line 1: 'nmae' is undefined"),
        ("changed.html", "\n\n{{ fields.x.y }}", "changed.html, line 3: "),
        ("layout.html", "{{ brnad }}", "layout.html, line 1: 'brnad' is undefined"),
        ("welcome.txt", "{{ link('mange') }}", "welcome.txt, line 1: there is no such link"),
        ("welcome.txt", "{% include 'footer.txt' %}", "welcome.txt, line 1: there is no template"),
        (
            "already-signed-up.txt",
            "{% if confirmed %}\n{{ nmae }}\n{% endif %}",
            "already-signed-up.txt, line 2: 'nmae' is undefined",
        ),
        (
            "changed.txt",
            "{% if fields | length > 1 %}\n{{ nmae }}\n{% endif %}",
            "changed.txt, line 2: 'nmae' is undefined",
        ),
        # This one renders, and then makes no email.
        ("manage-link.subject", "Ring\x07", "a header must not hold control characters"),
    ],
)
async def test_what_fails_is_found(
    checked: Callable[..., Any], folder: Path, file: str, text: str, words: str
) -> None:
    """Subject, text, HTML, in a branch that only some emails take; with file and line."""
    finding = await checked({file: text})
    assert words in finding.words
    assert str(folder) in finding.remedy


async def test_every_fault_is_named_once(checked: Callable[..., Any]) -> None:
    """Not only the first, nor as often as it is met."""
    finding = await checked(
        {"welcome.txt": "{{ a }}", "welcome.html": "{{ b }}", "changed.txt": "{% if %}"}
    )
    assert finding.words.split("; ") == [
        "changed.txt, line 1: Expected an expression, got 'end of statement block'",
        "welcome.txt, line 1: 'a' is undefined",
        "welcome.html, line 1: 'b' is undefined",
    ]


def own(text: str) -> dict[str, str]:
    """Write the three files of a template of the operator's own."""
    return {"news.subject": "News", "news.txt": text, "news.html": "{{ brand_name }}"}


@pytest.mark.parametrize(
    "text",
    [
        "{{ place }}",
        "{{ place.street.upper() }}",
        "{% for one in place %}{{ one.price | round }}{% endfor %}",
        "{{ place + 1 }}",
        "{% include 'place.txt' %}",
    ],
)
async def test_an_own_template_says_which_data_it_needs(
    checked: Callable[..., Any], text: str
) -> None:
    """We cannot know them, so it is no fault; who sends it has to."""
    finding = await checked({**own(text), "place.txt": "{{ place }}"})
    assert finding.remedy == ""
    assert finding.advice.startswith("news uses place: ")
    assert "POST /v1/messages" in finding.advice


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ link('mange') }}", "there is no such link"),
        ("{{ link('mange') }} {{ place }}", "there is no such link"),
        ("{{ place }}{% include 'none.txt' %}", "there is no template file none.txt"),
        ("{{ name + 1 }}", "news.txt, line 1: TypeError"),
    ],
)
async def test_an_own_template_that_cannot_be_right(
    checked: Callable[..., Any], text: str, words: str
) -> None:
    """Whatever its data are."""
    finding = await checked(own(text))
    assert words in finding.words
    assert finding.remedy


OURS = "{{ name }} {{ recipient }} {{ link('manage') }} {{ link_lasts }} {{ public_url }}"
FRAMED = """{% extends "layout.html" %}{% block title %}{{ super() }} {{ self.why() }}{% endblock %}
{% block body %}{% for n in range(3) %}{{ loop.index }}{% endfor %}{% set x = 1 %}{{ x }}
{% macro m(y) %}{{ y }}{% endmacro %}{{ m(x) }}{% endblock %}"""


async def test_an_own_template_that_needs_nothing_more(checked: Callable[..., Any]) -> None:
    """It has what every one has, and their name; what Jinja has is no data either."""
    finding = await checked({**own(OURS), "news.html": FRAMED})
    assert (finding.remedy, finding.advice) == ("", "")


async def test_what_people_may_stop_shows_how(checked: Callable[..., Any]) -> None:
    """A name that no template has, and a link that is in one part alone, are told of."""
    stop = "{{ link('unsubscribe') }}"
    finding = await checked(own(stop), unsubscribe_templates="news, nwes")
    assert [line.partition(" names ")[0][:45] for line in finding.advice.split("\n")] == [
        'news shows no link("unsubscribe") in both its',
        "REACH_UNSUBSCRIBE_TEMPLATES",
    ]
    both = {**own(stop), "news.html": stop}
    assert (await checked(both, unsubscribe_templates="news")).advice == ""
    assert "there is no such link" in (await checked(both)).words


async def test_samples_have_what_real_messages_have(reach: Reach) -> None:
    """All that Reach promises by itself is rendered with data of the same names."""
    http = await operator(reach)
    for _ in range(2):
        assert (await http.post("/v1/signups", json=ADA)).is_success
    assert (await http.post("/v1/links", json={"email": ADA["email"]})).is_success
    await reach.database.write(answer_some, reach.settings)
    person = (await add(http, email="grace@example.com")).json()
    changes = {"name": "Somebody", "description": "Something"}
    assert (await http.patch(f"/v1/people/{person['id']}", json=changes)).is_success

    async def names() -> dict[str, set[frozenset[str]]]:
        found: dict[str, set[frozenset[str]]] = {}
        for message in await messages_in(reach.database):
            found.setdefault(message.template, set()).add(frozenset(message.data))
        return found

    async def is_all() -> bool:
        return {"welcome", "manage-link", "changed"} <= set(await names())

    await eventually(is_all)
    for template, promised in (await names()).items():
        assert promised <= {frozenset(data) for data in DATA[template]}, template
    assert set(DATA) == set(composable(reach.settings))


def composable(settings: Settings) -> frozenset[str]:
    """The templates that Reach brings."""
    return sample_composer(settings).templates
