"""Reviews of a fictitious service: the template for a paged JSON API."""
