"""Bluesky and other servers of the AT Protocol: posts, with their edits and deletes, from a firehose or a Jetstream."""
