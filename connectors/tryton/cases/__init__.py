"""Examples of Tryton's answers, and as much of its server as the connector asks."""
