"""What the panels ask of Prometheus, in the few forms that they need."""

from panels import Ask

#: Whose metrics are shown.
HERE = 'job=~"$job",instance=~"$instance"'
#: Where people sign up and ask for links: the door, as the rules for its alerts have it, too.
DOOR = 'method="POST",route=~"/|/links|/v1/signups|/v1/links"'
REQUESTS = "reach_http_request_duration_seconds"
TRANSACTIONS = "reach_database_transaction_duration_seconds"
DELIVERIES = "reach_promised_to_sent_seconds"


def of(metric: str, where: str = "") -> str:
    """A metric of those that are shown, where these labels match too."""
    return f"{metric}{{{HERE}{where and ','}{where}}}"


def added_up(function: str, metric: str, where: str = "", by: str = "") -> str:
    """Add up what every process has, by these labels."""
    return f"{function}{by and f' by ({by}) '}({of(metric, where)})"


def rate(counter: str, where: str = "", by: str = "") -> str:
    """How much a counter rises in a second."""
    return f"sum{by and f' by ({by}) '}(rate({of(counter, where)}[$__rate_interval]))"


def rise(counter: str, where: str = "") -> str:
    """How much a counter rose over the time that is shown."""
    return f"sum(increase({of(counter, where)}[$__range]))"


def quantile(share: float, histogram: str, where: str = "", by: str = "") -> str:
    """Below what so large a share of a histogram's observations are."""
    buckets = rate(f"{histogram}_bucket", where, f"le{by and f', {by}'}")
    return f"histogram_quantile({share}, {buckets})"


def quantiles(histogram: str, name: str = "", where: str = "") -> tuple[Ask, Ask]:
    """The median, and what the slowest hundredth exceeds."""
    return (
        Ask(quantile(0.5, histogram, where), f"{name} p50".strip()),
        Ask(quantile(0.99, histogram, where), f"{name} p99".strip()),
    )


def or_zero(expression: str) -> str:
    """Take nothing for 0, as long as anything is scraped: what never occurred has no series."""
    return f"({expression} or 0 * {added_up('count', 'reach_build_info')})"


#: Queued messages that were promised more than 60 s ago.
LATE = added_up("max", "reach_outbox_overdue_messages")
#: How many messages failed over the time that is shown.
FAILED = rise("reach_messages_finished_total", 'state="failed"')
