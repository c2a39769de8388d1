"""Records of Debezium and the touchpoints that they must become."""
