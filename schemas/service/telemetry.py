"""All metrics of Touchline. Tests check alerts and dashboards against this module.

Names end with their unit. Labels have few values: never a customer, an identifier, an event id, a partition or free text.
"""

from prometheus_client import Counter, Gauge, Histogram

EVENT_AGE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)
DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

CONNECTOR_SUCCESS = Gauge(
    "touchline_connector_last_success_timestamp_seconds",
    "Time at which the connector last reached the end of its source, in seconds since 1970.",
    ["connector"],
)
CONNECTOR_EVENT = Gauge(
    "touchline_connector_last_event_timestamp_seconds",
    "Source time of the newest published touchpoint, in seconds since 1970.",
    ["connector"],
)
CONNECTOR_RETRIES = Counter(
    "touchline_connector_retries",
    "Requests to a source that were repeated after a pause, because they failed or hit a rate limit.",
    ["connector", "reason"],
)
CONNECTOR_ANSWERS = Counter("touchline_connector_answers", "Answers to webhook senders by HTTP status.", ["connector", "status"])
CONNECTOR_GAPS = Counter(
    "touchline_connector_gaps", "Cursors that the source no longer knew, so that the connector read again by time.", ["connector"]
)
CONNECTOR_RECONCILIATION = Gauge(
    "touchline_connector_reconciliation_difference_records",
    "Records that the source counted in the window of the last backfill, minus the records read.",
    ["connector", "stream"],
)
REFUSED_IDENTIFIERS = Counter(
    "touchline_connector_refused_identifiers",
    "Values of source records that identify no one. The record is published if it has another identifier.",
    ["connector", "kind", "reason"],
)
RECORDS = Counter("touchline_records", "Processed records by outcome.", ["stage", "outcome"])
EVENT_AGE = Histogram(
    "touchline_event_age_seconds",
    "Seconds from the receipt of a touchpoint by its connector to the end of this stage.",
    ["stage"],
    buckets=EVENT_AGE_BUCKETS,
)
LAG = Gauge("touchline_consumer_lag_records", "Consumer lag: records in Kafka that this stage has not committed.", ["stage"])
LAG_SECONDS = Gauge(
    "touchline_consumer_lag_seconds", "Age in seconds of the oldest record that this stage has read and not finished.", ["stage"]
)
DEAD_LETTERS = Counter(
    "touchline_dead_letters", "Records that became dead letters in the topic touchline.dead-letters.", ["stage", "reason"]
)
CHUNK = Histogram(
    "touchline_chunk_seconds", "Seconds to process one chunk of one partition.", ["stage"], buckets=DURATION_BUCKETS
)
LATE = Counter(
    "touchline_late_records",
    "Touchpoints beyond the lateness bound, late or repeated; they are stored and change journeys and signals at a rebuild.",
    ["stage"],
)
INCOMPLETE = Counter(
    "touchline_incomplete_customers",
    "Customers that became incomplete: their journeys and signals lack touchpoints until `touchline rebuild --incomplete`.",
)
STORED_INCOMPLETE = Gauge(
    "touchline_stored_incomplete_customers",
    "Customers that are incomplete in ClickHouse, as the sinks counted them last. Other processes report 0.",
)
RECOVERY = Gauge(
    "touchline_state_recovery_remaining_records", "Changelog records that a worker still has to read before it starts."
)
LOOP_LAG = Gauge("touchline_loop_lag_seconds", "Event loop lag in seconds.")
RESTARTS = Counter("touchline_restarts", "Restarts of this process after an unexpected end.")
REBALANCES = Counter(
    "touchline_rebalances", 'Rebalances of the worker group. how="lost": the group had already excluded this worker.', ["how"]
)
STUCK_PARTITIONS = Gauge(
    "touchline_stuck_partitions", "Partitions with waiting records and no progress for two minutes.", ["stage"]
)
STATE_ROW = Gauge(
    "touchline_state_row_bytes", "Bytes of the largest state row that this stage has written since its start.", ["stage"]
)
SKIPPED = Counter(
    "touchline_skipped_records",
    "Records of a changelog or of touchline.identity that a worker could not read and skipped.",
    ["topic"],
)
COPY_REMAINING = Gauge(
    "touchline_copy_remaining_records",
    "Records that a worker still has to read into its copy of a topic before it starts.",
    ["topic"],
)
COPY_EXPIRED = Counter("touchline_copy_expired_rows", "Rows that a worker dropped from its copy of a topic by age.", ["topic"])
ERASED = Counter("touchline_erased_records", "Touchpoints that were dropped because they name an erased identifier.", ["stage"])
SHARED_IDENTIFIERS = Counter(
    "touchline_shared_identifiers", "Identifiers that exceeded a limit, so that they no longer link customers."
)
IDENTITY_CONFLICTS = Counter(
    "touchline_identity_conflicts", "Identifiers that one touchpoint named together and that were not linked.", ["reason"]
)
LARGEST_CUSTOMER = Gauge(
    "touchline_largest_customer_identifiers",
    "Identifiers of the largest customer that this worker has changed since its start.",
)
RECOVERY_STUCK = Gauge("touchline_recovery_stuck", "1 if the recovery of state made no progress for two minutes, else 0.")
SINK_INSERT = Histogram(
    "touchline_sink_insert_seconds", "Seconds of one insert into ClickHouse.", ["table"], buckets=DURATION_BUCKETS
)
SINK_RETRIES = Counter("touchline_sink_retries", "Repeated inserts into ClickHouse.", ["reason"])
REFRESH_AGE = Gauge(
    "touchline_refresh_age_seconds", "Seconds since the last refresh of a table that ClickHouse refreshes by itself.", ["table"]
)
