"""Measurements of speed and size, run by `make bench`. They are programs and not tests."""
