"""Reach signs people up and emails every one of them, without fail."""
