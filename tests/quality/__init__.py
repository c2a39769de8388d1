"""Quality of results against known truth: `make quality`."""
