"""The client's own version. Which Reach it fits: the one whose repository it comes from."""

__version__ = "0.1.0"
