"""The worker: it leases messages, has them sent, and records the outcomes."""
