"""Configuration of Prometheus: scrape targets and every alert of `deploy/alerts`."""
