"""Tickets of Request Tracker 5: opened, answered, transferred, resolved, reopened, rejected, deleted."""
