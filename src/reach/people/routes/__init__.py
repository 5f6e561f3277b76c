"""People over HTTP: the door, what operators do with records, and one's own record."""
