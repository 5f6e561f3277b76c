"""HTTP that is no domain of its own: requests read, refused, counted and answered."""
