"""A real Tryton server: what it needs, what is in its database, and how to use it as a client does."""
