"""Connectors: read records from source systems and publish them as touchpoints."""
