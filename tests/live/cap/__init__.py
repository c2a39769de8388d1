"""A CAP server of SAP: its application, start and data."""
