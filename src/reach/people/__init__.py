"""Who signed up."""
