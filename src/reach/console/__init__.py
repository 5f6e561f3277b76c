"""The operators' web console: server-rendered pages below ``/console``, behind a sign-in."""
