"""A span for each statement, beneath that of its transaction.

Ours, because opentelemetry-instrumentation-sqlalchemy refuses SQLAlchemy 2.1: see decision 18.
https://opentelemetry.io/docs/specs/semconv/db/sql/
"""

from contextlib import AbstractContextManager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind
from sqlalchemy import Connection, Engine, ExceptionContext, event

from reach.telemetry import traces


def transaction(system: str, access: str) -> AbstractContextManager[Span]:
    """Begin a transaction's span (its ``access`` is ``read`` or ``write``).

    It lasts from when the transaction was asked for until its caller is answered.
    """
    names = {"db.system.name": system, "reach.db.access": access}
    return traces.child(f"{access} transaction", SpanKind.CLIENT, names)


def watch(engine: Engine) -> None:
    """Begin spans for what ``engine`` executes, if traces are on."""
    if not traces.are_on():
        return
    event.listen(engine, "before_cursor_execute", _begin)
    event.listen(engine, "after_cursor_execute", _end)
    event.listen(engine, "handle_error", _fail)
    event.listen(engine, "commit", _note_commit)


def _begin(
    connection: Connection, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: Any
) -> None:
    """Begin a statement's span. Its text is as it is compiled: what was typed is a parameter."""
    system = connection.dialect.name
    operation = statement.split(None, 1)[0].upper()
    names = {"db.system.name": system, "db.operation.name": operation, "db.query.text": statement}
    span = traces.begin(operation, SpanKind.CLIENT, names)
    if span is not None:
        context.reach_span = span


def _end(
    _connection: Connection,
    _cursor: Any,
    _statement: str,
    _parameters: Any,
    context: Any,
    _many: Any,
) -> None:
    span = vars(context).pop("reach_span", None)
    if span is not None:
        span.end()


def _fail(failure: ExceptionContext) -> None:
    """End the statement's span, with a code or a class: the message quotes what was typed."""
    context: Any = failure.execution_context
    span = None if context is None else vars(context).pop("reach_span", None)
    if span is not None:
        error = failure.original_exception
        code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None)
        if code is not None:
            span.set_attribute("db.response.status_code", code)
        traces.fail(span, code or type(error).__name__)
        span.end()


def _note_commit(_connection: Connection) -> None:
    span = trace.get_current_span()
    if span.is_recording():
        span.add_event("COMMIT")
