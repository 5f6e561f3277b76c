"""The fields of log lines, by the keywords that log calls use."""

from dataclasses import dataclass
from typing import Literal

Type = Literal["keyword", "long", "date", "wildcard", "match_only_text"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a log line."""

    name: str
    type: Type
    words: str


#: By the keyword that a log call uses.
FIELDS = {
    # A request
    "request_id": Field("http.request.id", "keyword", "The request's `X-Request-ID`."),
    "method": Field("http.request.method", "keyword", "The request's method."),
    "route": Field("url.path", "keyword", "The route's template, never what was asked for."),
    "status": Field("http.response.status_code", "long", "The answer's status; 499: caller left."),
    "nanoseconds": Field("event.duration", "long", "How long it took, in nanoseconds."),
    "reason": Field("event.reason", "keyword", "Why, in words of ours."),
    "count": Field("reach.count", "long", "How many of the same this line stands for."),
    # A message
    "reach_webhook_id": Field("reach.webhook.id", "keyword", "Its `id` in `/v1/webhooks`."),
    "reach_event_id": Field(
        "reach.event.id", "keyword", "An event's `id`, which receivers see as `webhook-id`."
    ),
    "reach_message_id": Field("reach.message.id", "keyword", "Its `id` in `/v1/messages`."),
    "message_id": Field(
        "email.message_id", "wildcard", "The `Message-ID` of the email, as mail servers log it."
    ),
    "template_file": Field("reach.template.file", "keyword", "The template's file that is broken."),
    "template_line": Field("reach.template.line", "long", "In which line."),
    "outcome": Field(
        "reach.attempt.outcome", "keyword", "deferred, rejected, unknown, unavailable."
    ),
    "server": Field(
        "reach.smtp.server", "long", "Which mail server: its place in `REACH_SMTP_URLS`, from 1."
    ),
    "smtp_code": Field("reach.smtp.code", "long", "The mail server's reply code."),
    "enhanced_code": Field("reach.smtp.enhanced_code", "keyword", "Its enhanced code (RFC 3463)."),
    "source": Field("reach.report.source", "keyword", "Who reported it: dsn, amazon-ses …"),
    "kind": Field("reach.report.kind", "keyword", "delivered, delayed, bounced, complained."),
    "category": Field("reach.report.category", "keyword", "Whose fault a bounce is."),
    "worker": Field("service.node.name", "keyword", "The worker: host and process id."),
    # An error
    "error_type": Field("error.type", "keyword", "The exception's class; never its message."),
    "frames": Field("error.stack_trace", "wildcard", "Where it happened: file, line, function."),
    "cause_type": Field("reach.error.cause_type", "keyword", "The class of what caused it."),
    "sqlstate": Field("error.code", "keyword", "What the database or the system calls it."),
    # The rest
    "child_pid": Field("reach.child.pid", "long", "The process, out of several, that ended."),
    "port": Field("server.port", "long", "Where it listens."),
    "path": Field("file.path", "keyword", "The folder or file that it is about."),
    "remedy": Field("reach.remedy", "keyword", "What to do about it."),
    "rule": Field(
        "rule.name",
        "keyword",
        "The rule by which a form is spam, or to be sent again.",
    ),
    "local_decisions": Field(
        "reach.limits.local_decisions", "long", "Decisions taken alone while Redis was unavailable."
    ),
}

#: What every line has, or may have, those of libraries too.
ALWAYS = (
    Field("@timestamp", "date", "When, in UTC."),
    Field("message", "match_only_text", "What happened, in words that never change."),
    Field("ecs.version", "keyword", "The version of the schema."),
    Field("log.level", "keyword", "debug, info, warning, error or critical."),
    Field("log.logger", "keyword", "Which part of Reach, or which library, says it."),
    Field("event.action", "keyword", "The event, as listed in this page: `circuit-breaker-open`."),
    Field("event.dataset", "keyword", "reach.<part>, for our own events; reach.library."),
    Field("event.kind", "keyword", "event."),
    Field("event.category", "keyword", "web, for a request."),
    Field("event.type", "keyword", "access, error, info, start, end …"),
    Field("event.outcome", "keyword", "success or failure, where there is one."),
    Field("service.name", "keyword", "reach."),
    Field("service.version", "keyword", "Reach's version."),
    Field("process.pid", "long", "The process."),
    Field("trace.id", "keyword", "The request's trace; a message keeps that of its sign-up."),
    Field("span.id", "keyword", "Where in the trace."),
)
