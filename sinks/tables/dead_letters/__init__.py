"""Refused records with their bytes."""
