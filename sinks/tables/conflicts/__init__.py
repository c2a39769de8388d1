"""Table of the identifiers that were not linked."""
