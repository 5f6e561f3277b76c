"""Delivery: what a worker leases, sends and records."""
