# shellcheck shell=bash
# The jobs of a real shop, beside a loop with one query and one SET for each list of recommendations.

retail_of=2011-11-01
loop_lists=10

retail_warm() { # WHAT KEYS [JOB]...
    empty_redis
    measure_warmd "$1" "$root/jobs/retail" "$(postgres_at retail)" "$2" --as-of "$retail_of" "${@:3}"
    note_rate "$1" "$2"
}

retail_all() {
    retail_warm "all jobs" 12451
}

retail_recommendations() {
    retail_warm "recommendations" 5152 recommendations
}

# The lists of some customers, evenly out of those that the job has.
retail_loop() {
    empty_redis
    measure "a loop" "$here/retail_loop" "$work/redis/socket" "$work/loop_targets"
    note_rate "a loop" "$loop_lists"
    [ "$(cache DBSIZE)" = "$loop_lists" ] || fail "the loop did not write $loop_lists keys"
}

section_retail() {
    start_redis
    start_postgres
    psql -Xq -c 'CREATE DATABASE retail'
    say "loading the shop's year"
    "$root/scripts/retail" "$data" "$(postgres_at retail)" >&2
    export PGDATABASE=retail
    psql -XAtq -v ON_ERROR_STOP=1 >"$work/loop_targets" <<PSQL
WITH customers AS (
    SELECT customer_id, row_number() OVER (ORDER BY customer_id) AS place, count(*) OVER () AS n
    FROM sales
    WHERE sold_at >= timestamp '$retail_of' - interval '14 days' AND sold_at < '$retail_of'
    GROUP BY customer_id
)
SELECT customer_id, 'None' FROM customers WHERE place % (n / $loop_lists) = 1 ORDER BY place LIMIT $loop_lists;
PSQL
    for ((round = 1; round <= rounds; round++)); do
        say "retail: round $round of $rounds"
        in_turn retail_all retail_recommendations retail_loop
    done
    export PGDATABASE=postgres
    heading "A year of a real shop's sales" <<TEXT
"Online Retail" (UCI Machine Learning Repository, DOI 10.24432/C5BW33) in PostgreSQL, as of $retail_of: all jobs of
jobs/retail, the recommendations alone, and a loop that asks PostgreSQL for one customer's overall recommendations at a
time, here for $loop_lists of the customers.
TEXT
    table <<SQL
SELECT what, "keys/s", "min..max",
    (SELECT printf('%,d (%,d..%,d)', ratio, low, high) FROM ratios AS r WHERE r.section = l.section AND r.what = l.what
        AND r.metric = 'keys_per_second' AND r.reference = 'a loop') AS 'to the loop',
    seconds, "its CPU s", "PostgreSQL CPU s", "Redis CPU s", "peak MB", statements, "per 1,000 keys", rows, "bytes read", bytes,
    "database s", "compute s", "redis s"
FROM lines AS l
WHERE section = 'retail'
ORDER BY place;
SQL
    commands
}
