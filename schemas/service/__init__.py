"""Parts of every Touchline process: settings, connections, metrics, health probes and the process frame."""
