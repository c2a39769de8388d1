"""Churn: how likely a customer is not to buy again within the horizon, read when they buy and while they are silent."""
