"""Mapping of source records to touchpoints, declared in a `mapping.yaml`."""
