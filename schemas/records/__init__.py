"""Records on Kafka as pydantic models: touchpoints, readings, dead letters and connector states."""
