"""Reviews of a fictitious review service: the example to copy for a paged JSON API."""
