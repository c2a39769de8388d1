"""Churn readings."""
