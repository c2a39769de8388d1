"""Terminal output of `touchline connect`."""
