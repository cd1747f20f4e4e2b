-- Views on `figures`: one value for each section, thing measured, round and metric.

-- The middle value of the rounds, with the least and the greatest.
CREATE VIEW medians AS
SELECT section, what, metric, avg(value) AS median, low, high
FROM (
    SELECT
        section, what, metric, value,
        row_number() OVER (PARTITION BY section, what, metric ORDER BY value) AS place,
        count(*) OVER of_it AS n,
        min(value) OVER of_it AS low,
        max(value) OVER of_it AS high
    FROM figures
    WINDOW of_it AS (PARTITION BY section, what, metric)
)
WHERE place IN ((n + 1) / 2, (n + 2) / 2)
GROUP BY section, what, metric;

-- The middle one of the rounds' ratios: a machine that slows down for a while slows both.
CREATE VIEW ratios AS
SELECT section, metric, what, reference, avg(ratio) AS ratio, low, high,
    printf('%.2f (%.2f..%.2f)', avg(ratio), low, high) AS text
FROM (
    SELECT
        section, metric, what, reference, ratio,
        row_number() OVER (PARTITION BY section, metric, what, reference ORDER BY ratio) AS place,
        count(*) OVER of_it AS n,
        min(ratio) OVER of_it AS low,
        max(ratio) OVER of_it AS high
    FROM (
        SELECT a.section, a.metric, a.what, b.what AS reference, a.value / b.value AS ratio
        FROM figures AS a
        JOIN figures AS b USING (section, metric, round)
        WHERE b.value > 0
    )
    WINDOW of_it AS (PARTITION BY section, metric, what, reference)
)
WHERE place IN ((n + 1) / 2, (n + 2) / 2)
GROUP BY section, metric, what, reference;

-- One line for each thing measured, in the order of the first round, and '-' for what it does not have.
CREATE VIEW lines AS
WITH
wide AS (
    SELECT
        section,
        what,
        max(median) FILTER (WHERE metric = 'keys_per_second') AS rate,
        max(low) FILTER (WHERE metric = 'keys_per_second') AS rate_low,
        max(high) FILTER (WHERE metric = 'keys_per_second') AS rate_high,
        max(median) FILTER (WHERE metric = 'seconds') AS seconds,
        max(low) FILTER (WHERE metric = 'seconds') AS seconds_low,
        max(high) FILTER (WHERE metric = 'seconds') AS seconds_high,
        max(median) FILTER (WHERE metric = 'memory') / 1024 AS memory,
        max(low) FILTER (WHERE metric = 'memory') / 1024 AS memory_low,
        max(high) FILTER (WHERE metric = 'memory') / 1024 AS memory_high,
        max(median) FILTER (WHERE metric = 'cpu') AS cpu,
        max(median) FILTER (WHERE metric = 'postgres_cpu') AS postgres_cpu,
        max(median) FILTER (WHERE metric = 'mariadb_cpu') AS mariadb_cpu,
        max(median) FILTER (WHERE metric = 'redis_cpu') AS redis_cpu,
        max(median) FILTER (WHERE metric = 'keys') AS keys,
        max(median) FILTER (WHERE metric = 'queries') AS queries,
        max(median) FILTER (WHERE metric = 'rows') AS rows,
        max(median) FILTER (WHERE metric = 'database_bytes') AS database_bytes,
        max(median) FILTER (WHERE metric = 'bytes') AS bytes,
        max(median) FILTER (WHERE metric = 'database_seconds') AS database_seconds,
        max(median) FILTER (WHERE metric = 'compute_seconds') AS compute_seconds,
        max(median) FILTER (WHERE metric = 'redis_seconds') AS redis_seconds
    FROM medians
    GROUP BY section, what
),
-- Three digits at least.
digits AS (
    SELECT *, CASE WHEN rate < 10 THEN '%.2f' WHEN rate < 100 THEN '%.1f' ELSE '%,d' END AS format
    FROM wide
)
SELECT
    section,
    what,
    (SELECT min(f.rowid) FROM figures AS f WHERE f.section = d.section AND f.what = d.what) AS place,
    iif(rate IS NULL, '-', printf(format, rate)) AS "keys/s",
    iif(rate IS NULL, '-', printf(format || '..' || format, rate_low, rate_high)) AS "min..max",
    printf('%.2f', seconds) AS seconds,
    printf('%.2f..%.2f', seconds_low, seconds_high) AS "min..max s",
    printf('%.1f', memory) AS "peak MB",
    printf('%.1f..%.1f', memory_low, memory_high) AS "min..max MB",
    printf('%.2f', cpu) AS "its CPU s",
    printf('%.2f', postgres_cpu) AS "PostgreSQL CPU s",
    printf('%.2f', mariadb_cpu) AS "MariaDB CPU s",
    printf('%.2f', redis_cpu) AS "Redis CPU s",
    iif(queries IS NULL, '-', printf('%,d', queries)) AS statements,
    iif(queries IS NULL, '-', printf('%.2f', 1000 * queries / keys)) AS "per 1,000 keys",
    iif(rows IS NULL, '-', printf('%,d', rows)) AS rows,
    iif(database_bytes IS NULL, '-', printf('%,d', database_bytes)) AS "bytes read",
    iif(bytes IS NULL, '-', printf('%,d', bytes)) AS bytes,
    iif(database_seconds IS NULL, '-', printf('%.2f', database_seconds)) AS "database s",
    iif(compute_seconds IS NULL, '-', printf('%.2f', compute_seconds)) AS "compute s",
    iif(redis_seconds IS NULL, '-', printf('%.2f', redis_seconds)) AS "redis s",
    queries IS NOT NULL AS has_record
FROM digits AS d;
