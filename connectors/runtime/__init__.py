"""Runs a connector: read, map, publish, acknowledge, save the cursor."""
