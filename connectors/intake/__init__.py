"""An HTTP server that apps, trackers and webhooks send events to: Segment, Snowplow, CloudEvents, signed webhooks."""
