"""Table of the identifiers and their customers."""
