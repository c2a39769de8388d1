"""Measurements of ClickHouse: query times at ten million touchpoints, number of parts, and the rate of the sink."""
