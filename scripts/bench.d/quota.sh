# shellcheck shell=bash
# Whether a quota is kept: as Redis sees it, by its MONITOR.

quota_keys=20000
quota_rate=2000
# docs/architecture.md: a fiftieth of a second's worth, and one.
quota_burst=$((quota_rate / 50 + 1))

quota_run() {
    local monitor figures metric value
    empty_redis
    : >"$work/monitor"
    # Not by a function, whose shell alone would be ended below.
    redis-cli -s "$work/redis/socket" MONITOR >"$work/monitor" &
    monitor=$!
    until grep -q OK "$work/monitor"; do sleep 0.01; done
    measure_warmd warmd "$work/jobs/quota" "$(postgres_at postgres)" "$quota_keys"
    # What was asked for last has been told when the mark has.
    cache ECHO the-end >/dev/null
    until grep -q the-end "$work/monitor"; do sleep 0.01; done
    kill "$monitor"
    wait "$monitor" 2>/dev/null || true
    awk '
        $4 == "\"SET\"" && $5 ~ /^"quota:/ { time[++n] = $1 }
        function most(window,    first, last, found) {
            first = 1
            for (last = 1; last <= n; last++) {
                while (time[last] - time[first] >= window) first++
                if (last - first + 1 > found) found = last - first + 1
            }
            return found
        }
        END {
            print "sets", n
            print "span", time[n] - time[1]
            print "most_100ms", most(0.1)
            print "most_1s", most(1)
        }' "$work/monitor" >"$work/quota"
    while read -r metric value; do
        [ "$metric" != sets ] || [ "$value" = "$quota_keys" ] || fail "Redis saw $value SETs instead of $quota_keys"
        note warmd "$metric" "$value"
    done <"$work/quota"
}

section_quota() {
    start_redis
    start_postgres
    mkdir -p "$work/jobs/quota"
    cat >"$work/jobs/quota/quota.toml" <<TOML
key = "quota:{id}"
ttl = "1h"
[query]
sql = "SELECT n AS id, 'Item ' || n AS name FROM generate_series(1, $quota_keys) AS n"
[limits]
keys_per_second = $quota_rate
TOML
    for ((round = 1; round <= rounds; round++)); do
        say "quota: round $round of $rounds"
        quota_run
    done
    heading "A quota" <<TEXT
$(thousands "$quota_keys") keys at \`keys_per_second = $quota_rate\`: $((quota_keys / quota_rate)) seconds. A burst is
a fiftieth of a second's worth and one, $quota_burst keys. Times and numbers of SETs are those of Redis's MONITOR; a window is any
stretch of that length, wherever it begins. What is allowed in one is a burst, and what the quota gives meanwhile.
TEXT
    table <<SQL
CREATE TABLE expected (metric TEXT, what TEXT, format TEXT, configured REAL, allowed REAL);
INSERT INTO expected VALUES
    ('run_seconds', 'seconds of the run', '%.3f', $quota_keys / $quota_rate, NULL),
    ('span', 'seconds from the first SET to the last', '%.3f', $quota_keys / $quota_rate, NULL),
    ('most_100ms', 'most SETs within 100 ms', '%d', $quota_rate / 10, $quota_burst + $quota_rate / 10),
    ('most_1s', 'most SETs within 1 s', '%d', $quota_rate, $quota_burst + $quota_rate);
SELECT e.what, printf(format, median) AS median, printf(format || '..' || format, low, high) AS 'min..max',
    printf('%d', configured) AS configured, printf('%+.1f %%', 100 * (median / configured - 1)) AS off,
    iif(allowed IS NULL, '-', printf('%d', allowed)) AS allowed
FROM expected AS e
JOIN medians AS m USING (metric)
WHERE m.section = 'quota' AND m.what = 'warmd'
ORDER BY e.rowid;
SQL
    commands
}
