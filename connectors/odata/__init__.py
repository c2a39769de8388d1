"""Entity sets of an OData service, version 2 or 4: SAP S/4HANA's orders and deliveries, or what the settings name."""
