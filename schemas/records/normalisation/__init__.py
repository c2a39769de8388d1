"""Rules that turn a source's spelling of an identifier into the one normal spelling, by kind. Pure.

A change of the result for any value needs a new RULES_VERSION (`rules.py`). Identifiers carry the version and the source's
spelling.
"""
