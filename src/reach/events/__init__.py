"""What happened, noted in its own transaction, for those who want to hear."""
