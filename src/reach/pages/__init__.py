"""The hosted pages: HTML that works without JavaScript."""
