"""Where a page of a list ends, as an opaque text."""

import base64
from typing import Annotated
from uuid import UUID

from reach.shapes import CURSOR, shaped

#: As a route takes it.
Cursor = Annotated[str, *shaped(CURSOR)]


def write(last_id: UUID) -> str:
    """Make the cursor that continues after ``last_id``."""
    return base64.urlsafe_b64encode(last_id.bytes).rstrip(b"=").decode()


def read(cursor: str | None) -> UUID | None:
    """Read what ``write`` made, and a route has looked at."""
    return UUID(bytes=base64.urlsafe_b64decode(f"{cursor}==")) if cursor else None
