"""Dead letters whose record was sent again."""
