"""Tests of what we owe people, and of how it reaches them."""
