"""Pictures of every page and every email."""
