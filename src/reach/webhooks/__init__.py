"""Webhooks out: other systems are told what happened."""
