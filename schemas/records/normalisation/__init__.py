"""Rules that give each identifier one spelling, by kind. Pure.

A rule that changes the result for any value needs a new RULES_VERSION (`rules.py`). Identifiers carry the version and the
source's spelling.
"""
