"""A real Tryton server: installation, data, and a client."""
