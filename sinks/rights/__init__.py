"""Roles as SQL, and masks of personal data."""
