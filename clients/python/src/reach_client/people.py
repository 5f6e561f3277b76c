"""What operators do with people's records."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from reach_client.calls import (
    OMITTED,
    Call,
    Group,
    Id,
    Omitted,
    Way,
    asked,
    given,
    listing,
    nothing,
    one,
    one_if_changed,
    operation,
    page,
    streamed,
)
from reach_client.model import Consent, Format, Message, Page, Person, Sort, State


class People(Group[Way]):
    """What operators do with people's records: `people:read`, `people:write`."""

    @listing("GET", "/v1/people")
    def list(
        self,
        *,
        search: str | None = None,
        q: str | None = None,
        confirmed: bool | None = None,
        language: str | None = None,
        welcome: State | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        sort: Sort | None = None,
        page_size: int | None = None,
        cursor: str | None = None,
    ) -> Call[Page[Person]]:
        """Go through people, newest first unless ``sort`` says otherwise.

        ``search`` is part of an address or a name, ``q`` how the address begins. They signed up at
        ``since`` or later, and before ``until``. ``cursor`` is the ``next_cursor`` of a page, to go
        on from there.
        """
        query = asked(
            search=search,
            q=q,
            confirmed=confirmed,
            language=language,
            welcome=welcome,
            since=since,
            until=until,
            sort=sort,
            limit=page_size,
            cursor=cursor,
        )
        return Call(page(Person), query=query)

    @streamed("GET", "/v1/people/export")
    def export(
        self,
        *,
        format: Format | None = None,
        columns: Sequence[str] | None = None,
        search: str | None = None,
        q: str | None = None,
        confirmed: bool | None = None,
        language: str | None = None,
        welcome: State | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Call[None]:
        """Read people as a file while it is written, CSV unless ``format`` says otherwise.

        ``with people.export() as stream: file.writelines(stream.chunks())``. The filters are those
        of `list`. If it ends early, NotReached says so: the file is not whole.
        """
        query = asked(
            format=format,
            columns=",".join(columns) if columns else None,
            search=search,
            q=q,
            confirmed=confirmed,
            language=language,
            welcome=welcome,
            since=since,
            until=until,
        )
        return Call(nothing, query=query)

    @operation("POST", "/v1/people")
    def add(
        self,
        email: str,
        name: str,
        *,
        description: str | None = None,
        language: str | None = None,
        welcome: bool = True,
        idempotency_key: str | None = None,
    ) -> Call[Person]:
        """Add a person, and send their welcome unless told not to.

        Raises Conflict if the address is signed up already; Invalid.
        """
        json = given(
            email=email, name=name, description=description, language=language, welcome=welcome
        )
        return Call(one(Person), json=json, idempotency_key=idempotency_key)

    @operation("GET", "/v1/people/{id}")
    def get(self, id: Id, *, if_match: str | None = None) -> Call[Person]:
        """Read a person. Raises NotFound; PreconditionFailed if they are not as in ``if_match``."""
        return Call(one(Person), id, if_match=if_match)

    @operation("GET", "/v1/people/{id}")
    def get_if_changed(self, id: Id, if_none_match: str) -> Call[Person | None]:
        """Read a person if they are not as they were when they had this etag, else give None."""
        return Call(one_if_changed(Person), id, if_none_match=if_none_match)

    @operation("PATCH", "/v1/people/{id}")
    def change(
        self,
        id: Id,
        *,
        name: str | Omitted = OMITTED,
        description: str | Omitted | None = OMITTED,
        language: str | Omitted | None = OMITTED,
        if_match: str | None = None,
    ) -> Call[Person]:
        """Change a record: what is left out stays, and None clears it. They get an email about it.

        Raises NotFound; Invalid; PreconditionFailed if the record is no longer as in ``if_match``:
        if that has ``perhaps_done``, look whether the change was yours.
        """
        return Call(one(Person), id, json=changes(name, description, language), if_match=if_match)

    @operation("DELETE", "/v1/people/{id}")
    def erase(self, id: Id, *, if_match: str | None = None) -> Call[None]:
        """Remove a person, their messages and every trace.

        Raises NotFound; PreconditionFailed if the record is no longer as in ``if_match``.
        """
        return Call(nothing, id, if_match=if_match)

    @listing("GET", "/v1/people/{id}/messages")
    def messages(
        self, id: Id, *, page_size: int | None = None, cursor: str | None = None
    ) -> Call[Page[Message]]:
        """Go through one person's messages, newest first. Raises NotFound."""
        return Call(page(Message), id, query=asked(limit=page_size, cursor=cursor))

    @operation("GET", "/v1/people/{id}/consent")
    def consent(self, id: Id) -> Call[Consent]:
        """Read what a person agreed to, when, and through which form. Raises NotFound."""
        return Call(one(Consent), id)


def changes(
    name: str | Omitted, description: str | Omitted | None, language: str | Omitted | None
) -> Mapping[str, Any]:
    """Write the changes to a record."""
    return given(name=name, description=description, language=language)
