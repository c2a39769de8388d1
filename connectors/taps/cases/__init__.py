"""Cases of the connector, and the tap that they run."""
