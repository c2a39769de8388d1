"""Senders for tests of the intake: original client libraries in separate environments."""
