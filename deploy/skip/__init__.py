"""Skip of single records that block a consumer group: group and stage of a topic, plan, dead letters, commit."""
