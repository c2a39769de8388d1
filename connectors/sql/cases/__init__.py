"""Rows of a database and the touchpoints that they must become."""
