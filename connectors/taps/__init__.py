"""Singer taps and Airbyte's declarative sources, each run as a process of its own: hundreds of sources for one connector."""
