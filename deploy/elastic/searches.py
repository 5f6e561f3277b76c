"""Saved searches: the questions that are asked again and again, and the columns that answer."""

from dataclasses import dataclass

from kql import Query, always, field, happened, is_any, is_there, status


@dataclass(frozen=True, slots=True)
class Search:
    """A saved search. Its newest line is on top, but for a story, which has its beginning there."""

    id: str
    title: str
    words: str
    query: Query
    columns: tuple[str, ...]
    is_story: bool = False


ACTION, TRACE, MESSAGE = always("event.action"), always("trace.id"), always("message")
REQUEST = (field("method"), field("route"), field("status"))
ID, HEADER = field("reach_message_id"), field("message_id")
TEMPLATE = (field("template_file"), field("template_line"))
ATTEMPT = (ID, field("outcome"), field("smtp_code"), field("enhanced_code"))

FAILED = Search(
    "reach-failed-deliveries",
    "Reach: failed deliveries",
    "Whose email did not arrive, and what the mail server said.",
    happened("message failed", "message cannot be composed")
    | (happened("not sent") & is_any(field("outcome"), "rejected")),
    (ACTION, *ATTEMPT, HEADER, field("reason"), *TEMPLATE, TRACE),
)
SERVER_ERRORS = Search(
    "reach-server-errors",
    "Reach: answered with 5xx",
    "Which requests we failed, and why.",
    status(500) | happened("request crashed"),
    (ACTION, *REQUEST, field("reason"), field("error_type"), TRACE),
)
STORY = Search(
    "reach-story",
    "Reach: one request's story",
    "Everything about one trace id, from the request to the delivery: put it in place of the *.",
    is_there(TRACE),
    (MESSAGE, *REQUEST, *ATTEMPT, field("nanoseconds"), field("error_type"), TRACE),
    is_story=True,
)
REFUSALS = Search(
    "reach-refusals",
    "Reach: spam and refusals",
    "Who was taken for a robot, or asked to send a form again, by which rule; who came too often.",
    happened("taken for spam", "asked to send again", "refused by a rate limit") | status(429, 430),
    (ACTION, field("rule"), field("count"), field("method"), field("route"), TRACE),
)
TROUBLE = Search(
    "reach-trouble",
    "Reach: warnings and errors",
    "Whatever somebody should read: a paused mail server, a database that is away, faults of ours.",
    is_any(always("log.level"), "warning", "error", "critical"),
    (always("log.level"), MESSAGE, field("reason"), field("error_type"), TRACE),
)
UNREADABLE = Search(
    "reach-unreadable",
    "Reach: lines that are not JSON",
    "What Filebeat could not read, as it was: no line of Reach's own should be here.",
    is_any(field("error_type"), "json"),
    (MESSAGE,),
)
SEARCHES = (FAILED, SERVER_ERRORS, STORY, REFUSALS, TROUBLE, UNREADABLE)
