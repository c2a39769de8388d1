"""The three steps of the chain. They are pure: no Kafka, no Faust, no clock."""
