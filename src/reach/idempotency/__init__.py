"""Idempotency: the same request again gets the response that it got the first time."""
