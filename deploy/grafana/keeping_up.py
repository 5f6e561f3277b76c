"""Whether it keeps up: what comes in goes out."""

from expressions import (
    DELIVERIES,
    FAILED,
    LATE,
    added_up,
    of,
    or_zero,
    quantile,
    quantiles,
    rate,
    rise,
)
from panels import (
    Ask,
    bad_above,
    coloured,
    from_one_to_millions,
    graph,
    heatmap,
    light,
    on_the_right,
    set_to,
    stacked,
    with_words,
)

SENT_IN_TIME = rise(f"{DELIVERIES}_bucket", 'le="60.0"')
COMMIT_CALLERS = "reach_group_commit_members"

LIGHTS = [
    set_to(
        light(
            "Mailed within 60 s",
            "Share of messages that the mail server had within 60 s of their promise, over the "
            "time shown; what failed, or is late and still queued, was missed. Red: below the "
            "objective of 99 %.",
            f"{SENT_IN_TIME} / ({rise(f'{DELIVERIES}_count')} + {or_zero(FAILED)} + {LATE})",
            ("red", None),
            ("orange", 0.99),
            ("green", 0.995),
            alert="ReachMailLate",
        ),
        unit="percentunit",
        decimals=2,
    ),
    set_to(
        light(
            "Oldest due",
            "How long the longest due message has been due. Minutes: workers are too few or "
            "stuck, or the lane is paused.",
            added_up("max", "reach_outbox_oldest_due_age_seconds"),
            ("green", None),
            ("orange", 60),
            ("red", 600),
            alert="ReachOutboxStuck",
        ),
        unit="s",
    ),
    with_words(
        light(
            "Lane",
            "Whether a worker has closed its lane to the mail server. Paused: nothing is lost and "
            "nothing is sent until the server takes mail again.",
            added_up("max", "reach_circuit_breaker_open"),
            ("green", None),
            ("red", 1),
            alert="ReachCircuitBreakerOpen",
        ),
        {0: "open", 1: "paused"},
    ),
]

GRAPHS = [
    stacked(
        coloured(
            graph(
                "Sign-ups",
                "Sign-ups a second, by what became of them. A fall to nothing is as bad as failed "
                "ones: the way to the door is closed.",
                Ask(rate("reach_signups_total", by="result"), "{{result}}"),
                unit="ops",
            ),
            {"^new$": "green", "^failed$": "red"},
        )
    ),
    from_one_to_millions(
        coloured(
            graph(
                "Outbox",
                "Messages by state, as the database has them. Queued should return to about 0; "
                "rising: less goes out than comes in.",
                Ask(added_up("max", "reach_outbox_messages", by="state"), "{{state}}"),
            ),
            {"^queued$": "orange", "^failed$": "red"},
        )
    ),
    stacked(
        coloured(
            graph(
                "Attempts",
                "Attempts a second, by outcome and by what the mail server said last. Later is put "
                "off and tried again; unsure may arrive twice; paused has closed the lane.",
                Ask(
                    rate("reach_delivery_attempts_total", by="outcome, smtp_class"),
                    "{{outcome}} {{smtp_class}}",
                ),
                unit="ops",
            ),
            {
                "^sent": "green",
                "^later": "yellow",
                "^refused": "red",
                "^unsure": "purple",
                "^paused": "orange",
            },
        )
    ),
    bad_above(
        60,
        graph(
            "Promised to sent",
            "Time from the promise to the mail server's acceptance, beside what one attempt takes. "
            "Both high: the mail server is slow; only the first: it waited for a worker.",
            *quantiles(DELIVERIES),
            Ask(quantile(0.99, "reach_delivery_attempt_duration_seconds"), "one attempt p99"),
            unit="s",
        ),
    ),
    heatmap(
        "Promised to sent, all of them",
        "How many messages were sent after how long. A second band far up: retries after an "
        "outage, or a recipient's server that puts mail off.",
        f"sum by (le) (increase({of(f'{DELIVERIES}_bucket')}[$__rate_interval]))",
        unit="s",
    ),
    graph(
        "Slots",
        "Attempts under way, beside those that workers can make at the same time. All busy while "
        "messages are queued: add workers or slots.",
        Ask(added_up("sum", "reach_worker_slots_busy"), "busy"),
        Ask(added_up("sum", "reach_worker_slots"), "there are"),
        alert="ReachNoWorker",
    ),
    coloured(
        on_the_right(
            graph(
                "Leases",
                "Messages that workers hold, and those a second that were taken over from a worker "
                "that vanished. Any taken over is worth a look: something kills workers.",
                Ask(added_up("sum", "reach_leases_held"), "held"),
                Ask(rate("reach_leases_reclaimed_total"), "taken over"),
            ),
            "taken",
            "ops",
        ),
        {"taken": "red"},
    ),
    on_the_right(
        graph(
            "Shared commits",
            "Callers that share a commit, and how long it takes. More callers under load is how "
            "Reach keeps up; a longer commit is a slower disk or database.",
            Ask(
                f"{rate(f'{COMMIT_CALLERS}_sum')} / {rate(f'{COMMIT_CALLERS}_count')}",
                "callers, on average",
            ),
            Ask(quantile(0.99, COMMIT_CALLERS), "callers p99"),
            Ask(quantile(0.99, "reach_group_commit_duration_seconds"), "took p99"),
        ),
        "took",
        "s",
    ),
]
