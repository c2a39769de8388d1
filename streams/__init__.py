"""Worker: identify customers, join their touchpoints into journeys, and read signals, with Faust as engine."""
