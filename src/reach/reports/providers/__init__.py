"""Email providers: how each proves that it is who reports, and what its words mean in ours."""
