"""Satisfaction: score of how content a customer is now, from all evidence, the newest weighted most."""
