"""Who is calling, and what Reach signed itself."""
