"""Who gets a page, and what a problem looks like as one."""

from collections.abc import Callable

import pytest
from fastapi import Request

from reach.db.errors import OUTCOME_UNKNOWN, DatabaseUnavailable
from reach.problems import NotFound, Problem, ServiceUnavailable
from reach.web.errors import prefers_html, problem_page
from tests.support.site import Site

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def asking(*accept: str) -> Request:
    """Make a request that accepts this."""
    headers = [(b"accept", value.encode()) for value in accept]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    "accept",
    [
        (CHROME,),
        ("text/html",),
        ("TEXT/HTML ; Q=0.9",),
        ("text/*",),
        ("text/html, */*",),
        ("application/json;q=0.5, text/html;q=0.6",),
        ("application/problem+json;q=0.1", "text/html;q=0.2"),
        ("text/html;level=1;q=0.7, */*;q=0.5",),
        ("application/*;q=0.2, */*;q=0.3, text/html;q=0.25",),
    ],
)
def test_html_is_preferred(accept: tuple[str, ...]) -> None:
    """Browsers, and all who weigh HTML above JSON, get pages."""
    assert prefers_html(asking(*accept))


@pytest.mark.parametrize(
    "accept",
    [
        (),
        ("",),
        ("*/*",),
        ("application/json",),
        ("text/html, application/json",),
        ("text/html;q=0",),
        ("text/html;q=0, */*",),
        ("text/html;q=junk",),
        ("text/html;q=0.5, application/*;q=0.6",),
        ("text/html;q=0.5, application/problem+json;q=0.6",),
        ("text/plain",),
        (";;;,,,q=",),
    ],
)
def test_json_is_preferred(accept: tuple[str, ...]) -> None:
    """Programs, which say nothing or say JSON, get problem+json."""
    assert not prefers_html(asking(*accept))


@pytest.fixture
def asker(make_site: Callable[..., Site]) -> Request:
    """Make a request to pages that are called Tea."""
    app = make_site(brand_name="Tea").app
    return Request({"type": "http", "headers": [], "query_string": b"", "path": "/", "app": app})


def shown(request: Request, problem: Problem) -> str:
    """Give the page of a problem."""
    return bytes(problem_page(request, problem).body).decode()


def test_a_problem_as_a_page(asker: Request) -> None:
    """It has the problem's status and headers, its words, and a page's own protection."""
    page = problem_page(asker, ServiceUnavailable(retry_after_seconds=9))
    text = bytes(page.body).decode()
    assert (page.status_code, page.headers["retry-after"]) == (503, "9")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<title>Not available for a moment · Tea</title>" in text
    assert "&lt;b&gt;gone" in shown(asker, NotFound("<b>gone</b>"))
    assert "None" not in shown(asker, NotFound())


def test_a_page_says_what_was_done_and_not_why(asker: Request) -> None:
    """Visitors can mend no disk; they do need to know whether they signed up."""
    assert "full" not in shown(asker, ServiceUnavailable("Its disk is full."))
    assert OUTCOME_UNKNOWN in shown(asker, DatabaseUnavailable(OUTCOME_UNKNOWN))
