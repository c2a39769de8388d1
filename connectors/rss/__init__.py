"""RSS and Atom feeds: posts, reviews and mentions."""
