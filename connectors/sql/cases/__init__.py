"""Rows as a database gives them, and what they must become."""
