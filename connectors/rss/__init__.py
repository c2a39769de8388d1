"""RSS and Atom feeds: posts, reviews and mentions, asked for only when they changed."""
