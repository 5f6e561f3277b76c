"""Several mail servers, rates, tokens and headers: what may be set, and what is refused."""

from typing import Any

import pytest

from reach.settings import BadSettings, load
from reach.settings.rates import DomainRates, Rate
from reach.settings.smtp import parse_headers, parse_smtp_urls
from reach.settings.urls import SmtpUrl

TOKENS = {
    "smtp_oauth_token_url": "https://login.example.org/token",
    "smtp_oauth_client_id": "reach",
    "smtp_oauth_client_secret": "secret",
}


def test_servers_are_read_in_order() -> None:
    """A password may hold a comma, a blank, or what looks like parameters."""
    text = (
        "smtps://u:a, b?rate=1/s@one?rate=10/s\n smtp+starttls://two:25?name=mail.two.org&rate=5/min"
        ",smtp://three/?rate=7/h,"
    )
    one, two, three = parse_smtp_urls(text)
    assert (one.host, one.password, one.rate) == ("one", "a, b?rate=1/s", Rate(10, 1))
    assert (two.port, two.verify_name, two.rate) == (25, "mail.two.org", Rate(5, 60))
    assert (three.host, three.rate) == ("three", Rate(7, 3600))
    assert str(one) == "smtps://********@one:465?rate=10/s"
    settings = load({"smtp_urls": text})
    assert settings.smtp_servers == (one, two, three)
    assert settings.smtp == one
    assert load({"smtp_url": "smtp://mail?rate=3/s"}).smtp_servers == (
        SmtpUrl("mail", 25, "plain", rate=Rate(3, 1)),
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"smtp_url": "smtp://a", "smtp_urls": "smtp://b"}, "both set"),
        ({"smtp_urls": "smtp://b", "smtp_user": "u"}, "in its own URL"),
        ({"smtp_urls": "smtp://b, smtp://u@c"}, "server 2 needs both"),
        ({"smtp_urls": "smtp://b smtp://b"}, "one server twice"),
        ({"smtp_urls": "smtp://b?rate=0/s"}, "must be a rate"),
        ({"smtp_urls": "smtp://b?rate=5/s&rate=6/s"}, "must end after the port"),
        ({"smtp_urls": "smtp://b?name=a%20b"}, "must end after the port"),
        ({"smtp_urls": ",".join(f"smtp://host{n}" for n in range(11))}, "10 servers"),
        ({"smtp_url": "smtps://u:p@b", **TOKENS}, "no server to log in at"),
        ({"smtp_url": "smtps://u@b", "smtp_oauth_scope": "x"}, "OAUTH_TOKEN_URL must be set"),
        ({"smtp_url": "smtps://u@b", **TOKENS, "smtp_oauth_client_id": ""}, "CLIENT_ID must be"),
        ({"smtp_url": "smtps://u@b", **TOKENS, "smtp_oauth_client_secret": ""}, "REFRESH_TOKEN"),
        (
            {"smtp_url": "smtps://u@b", **TOKENS, "smtp_oauth_token_url": "http://x.org/"},
            "must begin with https://",
        ),
        ({"smtp_url": "smtps://b", "smtp_key_file": "key.pem"}, "CERT_FILE must be set"),
        ({"smtp_url": "smtp://b", "smtp_cert_file": "c.pem"}, "needs a server with"),
        ({"smtp_urls": "smtps://b smtps://c", "smtp_verify_name": "x.org"}, "?name=mail"),
        ({"envelope_sender": "Ada <a@example.org>"}, "without a name"),
        ({"domain_rates": "example.org"}, "must be like gmail.com=5/s"),
        ({"domain_rates": "a.org=1/s a.org=2/s"}, "twice"),
        ({"domain_rates": "exa_mple.org=1/s"}, "must name domains"),
        ({"mail_headers": "Subject: x"}, "not yours to write"),
        ({"mail_headers": "x-reach-message: x"}, "not yours to write"),
        ({"mail_headers": "X-A: 1; X-a: 2"}, "twice"),
        ({"mail_headers": "X-A: \u00e9"}, "must be headers"),
        ({"mail_headers": "X A: 1"}, "must be headers"),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict[str, Any], words: str) -> None:
    """Each with words that say what to do, and no value of a URL."""
    with pytest.raises(BadSettings) as refused:
        load(given)
    assert words in str(refused.value)
    assert "smtp://b" not in str(refused.value)


def test_a_password_to_any_server_is_not_sent_in_clear() -> None:
    """The second one's counts like the first one's."""
    given = {
        "smtp_urls": "smtps://u:p@mail.example.org, smtp://u:p@other.example.org",
        "mail_from": "a@example.org",
        "secret_key": "k" * 32,
        "public_url": "https://signup.example.org",
    }
    with pytest.raises(BadSettings, match="REACH_SMTP_URLS would send its password unencrypted"):
        load(given).require_safe_exposure()


def test_a_domain_has_the_rate_that_names_it_best() -> None:
    """By its name, else by the nearest one above it with a dot before it, else by the asterisk."""
    rates = DomainRates.parse("Gmail.com=5/s, .example.org=60/min; .a.example.org=2/h\n*=20/s")
    assert rates.of("ada@GMAIL.com") == ("gmail.com", Rate(5, 1))
    assert rates.of("ada@b.example.org") == (".example.org", Rate(60, 60))
    assert rates.of("ada@x.a.example.org") == (".a.example.org", Rate(2, 3600))
    assert rates.of("ada@example.org") == ("example.org", Rate(20, 1))
    assert rates.of("ada@b\u00fccher.example") == ("xn--bcher-kva.example", Rate(20, 1))
    assert DomainRates.parse("gmail.com=5/s").of("ada@example.org") is None


def test_headers_are_read() -> None:
    """With ; or a line's end between them."""
    text = "X-SES-CONFIGURATION-SET: reach;\nX-PM-Message-Stream:outbound ; Feedback-ID: a:b:c"
    assert parse_headers(text) == [
        ("X-SES-CONFIGURATION-SET", "reach"),
        ("X-PM-Message-Stream", "outbound"),
        ("Feedback-ID", "a:b:c"),
    ]
