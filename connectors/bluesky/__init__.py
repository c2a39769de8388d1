"""Bluesky and other AT Protocol servers: posts with edits and deletes, from a firehose or a Jetstream."""
