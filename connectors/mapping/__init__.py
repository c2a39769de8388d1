"""Turns source records into touchpoints by a declared `mapping.yaml`."""
