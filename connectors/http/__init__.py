"""Everything that connectors for HTTP sources share: client, rate limit and pagination."""
