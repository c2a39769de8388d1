"""Example records of the source, and a small server that stands in for the source."""
