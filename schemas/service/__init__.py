"""What every Touchline process needs: connection settings, metrics and health probes."""
