"""Tickets of Request Tracker 5: opened, answered, passed on, resolved, reopened, rejected, deleted."""
