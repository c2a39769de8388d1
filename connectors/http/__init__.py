"""Shared parts of HTTP connectors: client, rate limit, pagination."""
