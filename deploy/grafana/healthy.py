"""Whether it is healthy: it answers, and so does what it needs."""

from expressions import (
    DOOR,
    REQUESTS,
    TRANSACTIONS,
    added_up,
    or_zero,
    quantile,
    quantiles,
    rate,
    rise,
)
from panels import Ask, bad_above, coloured, graph, light, on_the_right, set_to, with_words

FAILED_AT_THE_DOOR = rise(f"{REQUESTS}_count", f'{DOOR},status=~"5.."')
NOT_DONE = rate(f"{TRANSACTIONS}_count", 'result=~"unavailable|failed"')

LIGHTS = [
    set_to(
        light(
            "Door availability",
            "Share of sign-ups and requests for links that got no 5xx, over the time shown. Red: "
            "below the objective of 99.9 %.",
            f"1 - {or_zero(FAILED_AT_THE_DOOR)} / {rise(f'{REQUESTS}_count', DOOR)}",
            ("red", None),
            ("orange", 0.999),
            ("green", 0.9995),
            alert="ReachSignUpsFailing",
        ),
        unit="percentunit",
        decimals=2,
    ),
    with_words(
        set_to(
            light(
                "Database",
                "Share of transactions that failed or found the database away. Any is bad: the "
                "door answers 503, and workers wait.",
                f"{or_zero(NOT_DONE)} / {rate(f'{TRANSACTIONS}_count')}",
                ("green", None),
                ("orange", 0.0001),
                ("red", 0.05),
                alert="ReachDatabaseFailing",
            ),
            unit="percentunit",
            decimals=2,
        ),
        {0: "answers"},
    ),
    with_words(
        light(
            "Redis",
            "Whether a process finds Redis away and counts for itself. Away: a caller gets as many "
            "times the limit as there are processes.",
            added_up("max", "reach_redis_unavailable"),
            ("green", None),
            ("orange", 1),
            alert="ReachRedisUnavailable",
        ),
        {0: "answers", 1: "away"},
    ),
]

GRAPHS = [
    graph(
        "5xx by route",
        "Answers a second that were our fault, by route. Any is bad: 503 is the database away or "
        "a process being stopped, 500 is a defect.",
        Ask(rate(f"{REQUESTS}_count", 'status=~"5.."', "route, status"), "{{status}} {{route}}"),
        unit="reqps",
    ),
    bad_above(
        0.5,
        graph(
            "Request duration",
            "How long answers take, but for those refused by a limit. The door never answers in "
            "less than 5 ms; above half a second people notice.",
            *quantiles(REQUESTS, "door", f'{DOOR},status!="429"'),
            *quantiles(REQUESTS, "all", 'status!="429"'),
            unit="s",
        ),
    ),
    coloured(
        graph(
            "Database transactions",
            "Transactions a second, by kind and result. Refused ones changed nothing on purpose; "
            "away and failed are bad.",
            Ask(rate(f"{TRANSACTIONS}_count", by="kind, result"), "{{kind}} {{result}}"),
            unit="ops",
        ),
        {"failed$": "red", "away$": "orange"},
    ),
    bad_above(
        0.5,
        graph(
            "Database transaction p99",
            "What the slowest hundredth of transactions exceeds, waiting for a turn included. "
            "Rising: too few connections (see below) or a slow disk.",
            Ask(quantile(0.99, TRANSACTIONS, by="kind"), "{{kind}}"),
            unit="s",
        ),
    ),
    graph(
        "Database connections",
        "Transactions under way or waiting, beside the connections there are. Above those there "
        "are, they queue.",
        Ask(added_up("sum", "reach_database_pool_busy"), "busy or waiting"),
        Ask(added_up("sum", "reach_database_pool_connections"), "there are"),
    ),
    coloured(
        on_the_right(
            bad_above(
                0.05,
                graph(
                    "Redis latency and fallbacks",
                    "How long Redis takes, and the decisions a second taken without it. It has "
                    "50 ms; a decision alone holds the limit for one process, not for all.",
                    *quantiles("reach_redis_request_duration_seconds"),
                    Ask(rate("reach_limiter_fallbacks_total"), "decided alone"),
                    unit="s",
                ),
            ),
            "alone",
            "ops",
        ),
        {"alone": "red"},
    ),
    graph(
        "Scrape targets",
        "Processes that Prometheus reaches, of those it knows. Fewer than it knows: one is down, "
        "or its metrics are.",
        Ask(added_up("sum", "up", by="job"), "{{job}} up"),
        Ask(added_up("count", "up", by="job"), "{{job}} known"),
        alert="ReachNotScraped",
    ),
    coloured(
        on_the_right(
            graph(
                "In hand and dropped",
                "Requests being answered, and lines of the log a second that were dropped because "
                "whoever reads it does not keep up. Any dropped is bad: the log has a hole.",
                Ask(added_up("sum", "reach_http_requests_in_progress"), "requests in progress"),
                Ask(rate("reach_log_lines_dropped_total"), "lines dropped"),
                alert="ReachLogLinesDropped",
            ),
            "dropped",
            "ops",
        ),
        {"dropped": "red"},
    ),
]
