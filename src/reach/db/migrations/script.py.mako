"""${message}."""

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Expand; what an older version still reads stays."""
    ${upgrades if upgrades else "pass"}
