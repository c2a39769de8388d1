"""What Prometheus is told: where the metrics are, and every alert of `deploy/alerts`."""
