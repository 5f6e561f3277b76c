"""Who may do what: API keys, link tokens, and what guards the routes."""
