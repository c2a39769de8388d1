"""An HTTP server for events of apps, trackers and webhooks: Segment, Snowplow, CloudEvents, signed webhooks."""
