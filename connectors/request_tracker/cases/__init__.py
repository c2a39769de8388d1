"""Examples of the source's answers, and the source itself as a small real server."""
