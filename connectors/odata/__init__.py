"""Entity sets of an OData service, version 2 or 4: orders and deliveries of SAP S/4HANA, or others."""
