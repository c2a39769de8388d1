"""Satisfaction: how content a customer is now, from everything that happened, the newest most."""
