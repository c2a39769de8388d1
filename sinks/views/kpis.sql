CREATE OR REPLACE VIEW touchline.kpis
(
    day Date COMMENT 'day of the answers by the clock of the source, UTC',
    metric String COMMENT 'nps, csat or ces: the declared type of the question',
    dimension String COMMENT 'group of the answers: all, channel, stage, segment, system',
    value_of_dimension String
        COMMENT 'the group; empty for dimension all, and if a customer or type has none; for segment, the latest one of the customer',
    value Nullable(Float64)
        COMMENT 'nps: % of 9-10 minus % of 0-6, -100 to 100; csat: % in the top box of the scale; ces: % of 5-7 of 7; NULL if n is 0',
    low Nullable(Float64)
        COMMENT 'lower 95 % bound of value, same unit; csat, ces: Wilson 1927; nps: Wald of a difference of two shares (Rocks 2016)',
    high Nullable(Float64) COMMENT 'upper 95 % bound of value, same unit and method',
    mean Nullable(Float64) COMMENT 'ces only: mean answer, 1 to 7, higher is easier; NULL otherwise',
    mean_low Nullable(Float64) COMMENT 'lower 95 % bound of mean (Student t), 1 to 7; NULL for fewer than two different answers',
    mean_high Nullable(Float64) COMMENT 'upper 95 % bound of mean (Student t), 1 to 7; NULL for fewer than two different answers',
    n UInt64 COMMENT 'number of answers on a scale of the definition (nps 0-10, ces 1-7, csat of 2-7 or 10 points)',
    favourable UInt64 COMMENT 'number of favourable answers: nps 9-10, csat in the top box, ces 5-7',
    unfavourable UInt64 COMMENT 'number of unfavourable answers: nps 0-6; always 0 for csat and ces',
    offered UInt64 COMMENT 'number of offered surveys (survey.offered) on the day',
    answered UInt64 COMMENT 'number of answers on the day',
    scale String COMMENT 'declared scales of the questions, lowest-highest',
    questions Array(String) COMMENT 'question_id of the questions',
    definition_version String COMMENT 'definition of the metric and its version'
)
AS
WITH
    1.959964 AS z,
    moved AS
    (
        SELECT resolution, customer_id_then, customer_id FROM touchline_store.current_customers
    ),
    erased AS
    (
        SELECT customer_id FROM touchline_store.erased_customers
    ),
    changed AS
    (
        SELECT arrayJoin(arrayConcat([customer_id, current], exception_customers, shared)) AS customer_id FROM touchline_store.routes
    ),
    segments AS
    (
        SELECT customer_id, segment FROM touchline_store.segments FINAL WHERE customer_id NOT IN (SELECT customer_id FROM changed)
        UNION ALL
        SELECT
            if(moved.customer_id_then = given.customer_id, moved.customer_id, given.customer_id) AS owner,
            argMax(given.segment, given.version) AS segment
        FROM
        (
            SELECT * FROM touchline_store.segments_by_resolution FINAL WHERE customer_id IN (SELECT customer_id FROM changed)
        ) AS given
        LEFT ANY JOIN moved ON moved.resolution = given.resolution
        GROUP BY owner
    ),
    asked AS
    (
        SELECT
            toDate(occurred_at) AS day,
            assumeNotNull(metric) AS metric,
            if(moved.customer_id_then = given.customer_id, moved.customer_id, given.customer_id) AS customer_id,
            channel, stage, system, type, question_id, scale_low, scale_high, answer,
            scale_high - scale_low + 1 AS points,
            multiIf(points IN (2, 3), 1, points IN (4, 5, 6, 7), 2, points = 10, 3, NULL) AS top_box,
            answer IS NOT NULL AND multiIf(
                metric = 'nps', scale_low = 0 AND scale_high = 10,
                metric = 'csat', top_box IS NOT NULL,
                metric = 'ces', scale_low = 1 AND scale_high = 7,
                false
            ) AS scored,
            scored AND multiIf(metric = 'nps', answer >= 9, metric = 'csat', answer >= scale_high - top_box + 1, answer >= 5) AS good,
            scored AND metric = 'nps' AND answer <= 6 AS bad
        FROM (SELECT * FROM touchline_store.answers FINAL) AS given
        LEFT ANY JOIN moved ON moved.resolution = given.resolution
        WHERE given.metric IS NOT NULL AND given.customer_id NOT IN (erased) AND moved.customer_id NOT IN (erased)
    ),
    counted AS
    (
        SELECT
            day, metric, dimension, value_of_dimension,
            countIf(scored) AS n,
            countIf(good) AS favourable,
            countIf(bad) AS unfavourable,
            countIf(type = 'survey.offered') AS offered,
            countIf(answer IS NOT NULL) AS answered,
            avgIf(answer, scored) AS mean_answer,
            studentTTestOneSampleIf(0.95)(assumeNotNull(answer), 0., scored) AS interval_of_mean,
            arrayStringConcat(arraySort(groupUniqArray(concat(toString(scale_low), '-', toString(scale_high)))), ', ') AS scale,
            arraySort(groupUniqArray(assumeNotNull(question_id))) AS questions
        FROM asked
        LEFT ANY JOIN segments USING customer_id
        ARRAY JOIN
            ['all', 'channel', 'stage', 'segment', 'system'] AS dimension,
            ['', channel, stage, segment, system] AS value_of_dimension
        GROUP BY day, metric, dimension, value_of_dimension
    ),
    shares AS
    (
        SELECT
            *,
            favourable / n AS p,
            unfavourable / n AS d,
            (p + z * z / (2 * n)) / (1 + z * z / n) AS wilson_centre,
            z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n) AS wilson_half,
            if(metric = 'nps', p - d, p) AS share,
            if(metric = 'nps', share, wilson_centre) AS centre,
            if(metric = 'nps', z * sqrt((p + d - share * share) / n), wilson_half) AS half,
            if(metric = 'nps', -1, 0) AS floor_of_share
        FROM counted
    )
SELECT
    day, metric, dimension, value_of_dimension,
    if(n = 0, NULL, 100 * share) AS value,
    if(n = 0, NULL, 100 * greatest(centre - half, floor_of_share)) AS low,
    if(n = 0, NULL, 100 * least(centre + half, 1)) AS high,
    if(n = 0 OR metric != 'ces', NULL, mean_answer) AS mean,
    if(mean IS NULL OR isNaN(interval_of_mean.3), NULL, greatest(interval_of_mean.3, 1)) AS mean_low,
    if(mean IS NULL OR isNaN(interval_of_mean.4), NULL, least(interval_of_mean.4, 7)) AS mean_high,
    n, favourable, unfavourable, offered, answered, scale, questions,
    concat(metric, '-1') AS definition_version
FROM shares
COMMENT 'Survey scores by day, with intervals and response; compare two scores by their intervals';
