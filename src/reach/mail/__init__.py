"""Emails: templates, headers and signatures."""
