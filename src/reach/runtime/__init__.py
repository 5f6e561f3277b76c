"""How an API process takes its callers: their connections, within bounds."""
