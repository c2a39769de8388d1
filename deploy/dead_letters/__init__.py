"""Dead letters for people: chosen, shown, and their records sent again."""
