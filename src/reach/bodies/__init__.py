"""What a request's body must be before anything else sees it."""
