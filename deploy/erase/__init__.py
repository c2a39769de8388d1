"""Erasure of a person: hide, erase in the identity map, delete the rows, prove it, and search for what is left."""
