"""Identity map: which identifiers belong to one customer."""
