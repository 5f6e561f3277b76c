"""Where a page of a list ends, as an opaque text."""

import base64
import binascii
from uuid import UUID

from reach.problems import Unprocessable


def write(last_id: UUID) -> str:
    """Make the cursor that continues after ``last_id``."""
    return base64.urlsafe_b64encode(last_id.bytes).rstrip(b"=").decode()


def read(cursor: str | None) -> UUID | None:
    """Read what ``write`` made. Raises Unprocessable for anything else."""
    if cursor is None:
        return None
    try:
        return UUID(bytes=base64.b64decode(f"{cursor}==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        fault = {"parameter": "cursor", "detail": "Take it from next_cursor, unchanged."}
        raise Unprocessable(errors=[fault]) from None
