"""Every merge of customers, as it happened."""
