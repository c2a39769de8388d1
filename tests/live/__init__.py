"""Connectors against the real source systems, which the tests install and start themselves."""
