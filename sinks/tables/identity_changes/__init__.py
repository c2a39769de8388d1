"""History of merges of customers."""
