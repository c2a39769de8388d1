"""The intake under load."""
