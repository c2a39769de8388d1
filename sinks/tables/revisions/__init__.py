"""Table of the revisions of customers."""
