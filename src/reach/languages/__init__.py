"""Languages: whose catalogue pages and emails are read from, and which one is chosen."""
