"""Faust edge of the chain: chunked transport, ordered commits, and state with an acknowledged changelog."""
