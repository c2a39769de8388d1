"""Churn: probability that a customer does not buy within the horizon, read at purchases and during silence."""
