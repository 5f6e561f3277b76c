"""Handing one message to the mail server, and what its replies mean."""
