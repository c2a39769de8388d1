"""The only corner that knows Faust: chunked transport, safe commits, state with an acknowledged changelog."""
