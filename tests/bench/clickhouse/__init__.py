"""What ClickHouse owes to its readers, measured: answers at ten million touchpoints, bounded parts, and the rate of the sink."""
