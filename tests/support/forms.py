"""What is typed into a sign-up form, and all that a stranger can see of the answer."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import httpx

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


NOW = 1_800_000_000.0


#: Each endpoint where anybody can sign up: how to send a form to it.
ENDPOINTS: dict[str, Callable[[httpx.AsyncClient, Mapping[str, str]], Any]] = {
    "API": lambda http, fields: http.post("/v1/signups", json=fields),
    "page": lambda http, fields: http.post("/", data=fields, headers=BROWSER),
}


FILLED = {"motto": "https://buy.example"}


def hidden_in(page: str) -> dict[str, str]:
    """The form's hidden fields, as the page has them."""
    inputs = re.findall(r'<input [^>]*name="(started|motto|altcha)"[^>]*>', page)
    values = re.findall(r'name="(started|motto|altcha)" [^>]*value="([^"]*)"', page)
    assert len(inputs) == len(values)
    return dict(values)


#: Which may differ between two answers.
OF_THEIR_TIME = (b"date", b"x-request-id")


#: What text becomes; None if it is refused. The same wherever it is typed.
NAMES: dict[str, str | None] = {
    "Ada": "Ada",
    "  Ada  ": "Ada",
    "Zoe\u0308": "Zo\u00eb",
    "😀" * 100: "😀" * 100,
    "a" * 101: None,
    "   ": None,
    "": None,
    "\u200b": None,
    "A\u202eda": None,
    "A\x07da": None,
    "A\u2028da": None,
    "see https://example.com": None,
    "WWW.example.com": None,
    "ada@example.com": None,
    "ada\uff20example.com": None,
}


DESCRIPTIONS: dict[str, str | None] = {
    "curious": "curious",
    " see https://example.com ": "see https://example.com",
    "é" * 500: "é" * 500,
    "a" * 501: None,
    "a\u2066b": None,
    "a\x1bb": None,
}


def shape(answer: httpx.Response) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]:
    """All of an answer that a stranger could learn something from, but what they typed."""
    headers = [
        (name, value.partition(b";")[2] if name.lower() == b"set-cookie" else value)
        for name, value in answer.headers.raw
        if name.lower() not in OF_THEIR_TIME
    ]
    return answer.status_code, answer.content, tuple(headers)
