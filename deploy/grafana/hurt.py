"""Who is hurt: who gets no email, or no answer."""

from expressions import FAILED, LATE, REQUESTS, added_up, or_zero, rate
from panels import Ask, coloured, graph, light, on_the_right, set_to, stacked

LIGHTS = [
    light(
        "Late now",
        "Queued messages that were promised more than 60 s ago: so many people wait. Rising: an "
        "outage; a few that stay: addresses that their own servers put off.",
        LATE,
        ("green", None),
        ("orange", 1),
        ("red", 100),
        alert="ReachMailLate",
    ),
    set_to(
        light(
            "Failed",
            "Messages given up over the time shown: nobody gets them unless an operator retries. A "
            "few are mistyped addresses; many at once are our own fault.",
            or_zero(FAILED),
            ("green", None),
            ("orange", 1),
            ("red", 20),
            alert="ReachMessagesFailed",
        ),
        decimals=0,
    ),
]

GRAPHS = [
    coloured(
        on_the_right(
            graph(
                "Failed messages",
                "Failed messages that are kept for an operator to retry, and those a second that "
                "join them. A jump: read last_error of a few; often it is our sender or template.",
                Ask(added_up("max", "reach_outbox_messages", 'state="failed"'), "kept"),
                Ask(
                    or_zero(rate("reach_messages_finished_total", 'state="failed"')),
                    "given up",
                ),
                alert="ReachMessagesFailed",
            ),
            "given up",
            "ops",
        ),
        {"given up": "red"},
    ),
    coloured(
        on_the_right(
            graph(
                "Late messages",
                "Queued messages that were promised more than 60 s ago, and how long the longest "
                "due one has been due. Rising together: workers or the mail server are down.",
                Ask(LATE, "late"),
                Ask(added_up("max", "reach_outbox_oldest_due_age_seconds"), "oldest due"),
            ),
            "oldest",
            "s",
        ),
        {"late": "red"},
    ),
    coloured(
        on_the_right(
            graph(
                "Lane paused",
                "Workers whose lane to the mail server is closed, and how often in a second one "
                "closed. Some of many: their own way to the mail server; all: the mail server.",
                Ask(added_up("sum", "reach_circuit_breaker_open"), "paused"),
                Ask(rate("reach_circuit_breaker_openings_total"), "closed"),
                alert="ReachSomeCircuitBreakersOpen",
            ),
            "closed",
            "ops",
        ),
        {"paused": "orange"},
    ),
    graph(
        "Refused by a limit (429)",
        "Requests a second that a limit refused, by policy. Much: a flood, or people behind a "
        "proxy that REACH_TRUSTED_PROXIES does not name.",
        Ask(rate("reach_limiter_decisions_total", 'decision="refused"', "policy"), "{{policy}}"),
        unit="reqps",
    ),
    graph(
        "Turned away at the door",
        "Sign-ups a second that are taken for a robot's (it is told nothing) or are invalid (422). "
        "Many robots: see docs/guides/spam-protection.md; many invalid: a form of yours is wrong.",
        Ask(or_zero(rate("reach_signups_total", 'result="robot"')), "robot"),
        Ask(or_zero(rate("reach_signups_total", 'result="invalid"')), "invalid"),
        unit="ops",
    ),
    graph(
        "Callers who left (499), sent no HTTP, or were cut off",
        "Requests a second whose caller left before the answer, by route. Many: answers take "
        "longer than somebody's time-out. What was no HTTP, or too long or too slow, was answered "
        "and hung up on: a scanner, or a wrong port. Connections cut off, by reason: callers that "
        "took more than their share; too-many: REACH_MAX_CONNECTIONS is reached.",
        Ask(rate(f"{REQUESTS}_count", 'status="499"', "route"), "{{route}}"),
        Ask(rate("reach_http_unreadable_requests_total"), "no HTTP, too long or too slow"),
        Ask(rate("reach_http_cut_connections_total", by="reason"), "cut off: {{reason}}"),
        unit="reqps",
    ),
    graph(
        "Not let in (401, 403)",
        "Requests a second with a wrong, old or too narrow key or link, by route. A few are old "
        "links; many: an attack, or a key that somebody forgot to replace.",
        Ask(
            rate(f"{REQUESTS}_count", 'status=~"401|403"', "route, status"),
            "{{status}} {{route}}",
        ),
        unit="reqps",
    ),
    stacked(
        graph(
            "People",
            "People who are signed up, by whether they confirmed their address. More and more who "
            "did not: emails do not arrive, or addresses are made up.",
            Ask(added_up("max", "reach_people", by="confirmed"), "confirmed: {{confirmed}}"),
        )
    ),
]
