"""Records refused, with their bytes."""
