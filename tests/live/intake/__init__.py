"""Senders that the intake is tested with: the genuine libraries, in environments of their own."""
