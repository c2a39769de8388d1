"""Every metric of Touchline: one contract that alerts and dashboards are checked against. Units in names, bounded labels.

Labels never hold a customer, an identifier, an event id, a partition (but for lag) or free text.
"""

from prometheus_client import Counter, Gauge, Histogram

EVENT_AGE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)
DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

CONNECTOR_SUCCESS = Gauge(
    "touchline_connector_last_success_timestamp_seconds",
    "When the connector last read its source to the end",
    ["connector"],
)
CONNECTOR_EVENT = Gauge(
    "touchline_connector_last_event_timestamp_seconds", "Source time of the newest touchpoint published", ["connector"]
)
CONNECTOR_RETRIES = Counter(
    "touchline_connector_retries", "Pauses after which a source is asked again: failed, or rate used up", ["connector", "reason"]
)
CONNECTOR_ANSWERS = Counter(
    "touchline_connector_answers", "Requests of senders answered, by HTTP status", ["connector", "status"]
)
CONNECTOR_GAPS = Counter("touchline_connector_gaps", "Cursors that the source no longer knew; read again by time", ["connector"])
CONNECTOR_RECONCILIATION = Gauge(
    "touchline_connector_reconciliation_difference_records",
    "What the source counted in the window of the last backfill, minus what was read of it",
    ["connector", "stream"],
)
RECORDS = Counter("touchline_records", "Records by what became of them", ["stage", "outcome"])
EVENT_AGE = Histogram(
    "touchline_event_age_seconds", "From the connector's receipt to the end of this stage", ["stage"], buckets=EVENT_AGE_BUCKETS
)
LAG = Gauge("touchline_consumer_lag_records", "Records waiting in Kafka for this stage", ["stage"])
LAG_SECONDS = Gauge(
    "touchline_consumer_lag_seconds", "Age of the oldest record this stage has taken up and not finished", ["stage"]
)
DEAD_LETTERS = Counter("touchline_dead_letters", "Records refused, kept in touchline.dead-letters", ["stage", "reason"])
CHUNK = Histogram("touchline_chunk_seconds", "Time to process one chunk of one partition", ["stage"], buckets=DURATION_BUCKETS)
LATE = Counter(
    "touchline_late_records", "Touchpoints older than the lateness bound, late or repeated: stored, not folded", ["stage"]
)
RECOVERY = Gauge("touchline_state_recovery_remaining_records", "Changelog records still to be read before work begins")
LOOP_LAG = Gauge("touchline_loop_lag_seconds", "How late the event loop is: what one step holds up all others by")
RESTARTS = Counter("touchline_restarts", "Times this process was started again after an unexpected end")
REBALANCES = Counter(
    "touchline_rebalances", "Times the workers' group shared out its partitions anew; lost: this worker was given up", ["how"]
)
STUCK_PARTITIONS = Gauge(
    "touchline_stuck_partitions", "Partitions in which records wait and nothing was finished for two minutes", ["stage"]
)
RECOVERY_STUCK = Gauge("touchline_recovery_stuck", "1 where the recovery of state has not come further for two minutes")
SINK_INSERT = Histogram(
    "touchline_sink_insert_seconds", "Time of one insert into ClickHouse", ["table"], buckets=DURATION_BUCKETS
)
SINK_RETRIES = Counter("touchline_sink_retries", "Inserts tried again", ["reason"])
REFRESH_AGE = Gauge("touchline_refresh_age_seconds", "Time since a table that is made anew by itself was made last", ["table"])
