"""Singer taps and Airbyte sources, each run as a separate process."""
