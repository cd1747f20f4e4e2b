# shellcheck shell=bash
# The query kind: one statement whose rows become keys, beside what else could bring them there.

items=500000
items_columns="id, name, category, price, stock, rating, is_active, updated_at, attributes, description"

# One job alone in a folder: $1 its name, $2 what is special.
items_job() {
    local folder=$work/jobs/$1
    mkdir -p "$folder"
    cat >"$folder/items.toml" <<TOML
key = "key:{id}"
ttl = "1h"
$2
TOML
}

items_jobs() {
    local statement="SELECT $items_columns FROM items"
    items_job missing "refresh = 'missing'
[query]
sql = '$statement'"
    # Every key has just been written for an hour, so nothing is due.
    items_job auto "refresh = 'auto'
schedule = '*/15 * * * *'
[query]
sql = '$statement'"
    # MariaDB has no type of its own for JSON.
    items_job mariadb "refresh = 'missing'
[query]
sql = '$statement'
json = ['attributes']"
    items_job targets "refresh = 'missing'
[targets]
id = { sql = 'SELECT id FROM items' }
[query]
sql = '$statement WHERE id IN (:id)'"
}

items_in_postgres() { # DATABASE ROWS
    start_postgres
    say "making $(thousands "$2") items in PostgreSQL"
    psql -Xq -c "CREATE DATABASE $1"
    psql -Xq -d "$1" -v ON_ERROR_STOP=1 -v rows="$2" -f "$here/sql/items.sql" >&2
    local sizes
    sizes=$(psql -XAt -d "$1" -c "SELECT min(size), max(size) FROM (
        SELECT octet_length(row_to_json(v)::text) AS size FROM (SELECT ${items_columns#id, } FROM items) AS v) AS s")
    [ "$sizes" = "1035|1035" ] || fail "the values are not of 1,035 bytes, but of $sizes"
}

items_elsewhere() {
    say "copying them to SQLite and MariaDB"
    psql -Xq -d items -v ON_ERROR_STOP=1 >"$work/items.tsv" -c "COPY (
        SELECT id, name, category, price, stock, rating, is_active::integer,
            to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS updated_at, attributes, description
        FROM items ORDER BY id) TO STDOUT"
    sqlite3 -bail "$work/items.sqlite" <<SQLITE
PRAGMA synchronous = OFF;
CREATE TABLE items (id TEXT NOT NULL, name TEXT NOT NULL, category TEXT NOT NULL, price DECIMAL(10,2) NOT NULL,
    stock INTEGER, rating DOUBLE NOT NULL, is_active BOOLEAN NOT NULL, updated_at TIMESTAMPTZ NOT NULL,
    attributes JSON NOT NULL, description TEXT NOT NULL);
.mode tabs
.import $work/items.tsv items
UPDATE items SET stock = NULL WHERE stock = '\\N';
CREATE UNIQUE INDEX items_id ON items (id);
ANALYZE;
SQLITE
    sqlite_url=sqlite:$work/items.sqlite
    start_mariadb
    "${mariadb[@]}" bench <<MARIADB
SET time_zone = '+00:00';
CREATE TABLE items (id VARCHAR(12) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, name TEXT NOT NULL,
    category TEXT NOT NULL, price DECIMAL(10,2) NOT NULL, stock INTEGER, rating DOUBLE NOT NULL,
    is_active BOOLEAN NOT NULL, updated_at TIMESTAMP NOT NULL, attributes JSON NOT NULL, description TEXT NOT NULL);
LOAD DATA LOCAL INFILE '$work/items.tsv' INTO TABLE items CHARACTER SET utf8mb4;
MARIADB
    rm "$work/items.tsv"
}

# All keys are there, and the first round looks into them: every way must leave the same keys and values.
check_items() { # WHAT
    local found
    # Beside them, warmd leaves a sample of their names.
    cache DEL 'warmd:{items}:sample' >/dev/null
    found=$(cache DBSIZE)
    [ "$found" = "$items" ] || fail "after '$1' Redis holds $found keys instead of $items"
    [ "$round" = 1 ] || return 0
    found=$(digest)
    : "${items_digest:=$found}"
    [ "$found" = "$items_digest" ] || fail "'$1' wrote other keys or values than what ran before it"
}

written() { # WHAT JOB URL
    empty_redis
    measure_warmd "$1" "$work/jobs/$2" "$3" "$items"
    note_rate "$1" "$items"
    check_items "$1"
}

query_postgres() {
    written "warmd, PostgreSQL" missing "$(postgres_at items)"
    in_turn fresh_missing fresh_auto fresh_benchmark
}

fresh_missing() {
    measure_warmd "warmd, missing" "$work/jobs/missing" "$(postgres_at items)" "$items"
    note_rate "warmd, missing" "$items"
}

fresh_auto() {
    measure_warmd "warmd, auto" "$work/jobs/auto" "$(postgres_at items)" "$items"
    note_rate "warmd, auto" "$items"
}

fresh_benchmark() {
    measure_benchmark "redis-benchmark PTTL" -n "$items" -r "$items" -P 500 PTTL key:__rand_int__
}

query_targets() {
    written "warmd, PostgreSQL, targets" targets "$(postgres_at items)"
    measure_warmd "warmd, missing, targets" "$work/jobs/targets" "$(postgres_at items)" "$items"
    note_rate "warmd, missing, targets" "$items"
}

query_sqlite() {
    written "warmd, SQLite" missing "$sqlite_url"
}

query_mariadb() {
    written "warmd, MariaDB" mariadb "$mariadb_url"
}

# psql holds the whole result before it passes the first row on. With FETCH_COUNT it would need no memory, but that
# takes as long or longer, and so does COPY with sed behind it to take the backslashes of its format away.
query_pipe() {
    empty_redis
    # shellcheck disable=SC2016
    measure "psql to redis-cli --pipe" bash -o pipefail -c \
        'psql -XAtq -d items -v ON_ERROR_STOP=1 -f "$0" | redis-cli -s "$1" --pipe' \
        "$here/sql/items_resp.sql" "$work/redis/socket"
    note_rate "psql to redis-cli --pipe" "$items"
    grep -q "errors: 0, replies: $items" "$work/out" || { cat "$work/out" >&2; fail "redis-cli --pipe met errors"; }
    check_items "psql to redis-cli --pipe"
}

# With -r: without it, it would measure one key only.
query_benchmark() {
    empty_redis
    measure_benchmark "redis-benchmark SET" -n "$items" -r 1000000000 -P 200 -t set -d 1035
    check_benchmark
}

query_benchmark_nx() {
    local value
    value=$(printf 'x%.0s' {1..1035})
    empty_redis
    measure_benchmark "redis-benchmark SET PX NX" -n "$items" -r 1000000000 -P 200 \
        SET key:__rand_int__ "$value" PX 3600000 NX
    check_benchmark
}

# Its keys are random: nearly all are different.
check_benchmark() {
    local found
    found=$(cache DBSIZE)
    [ "$found" -gt $((items * 99 / 100)) ] || fail "redis-benchmark wrote $found keys instead of about $items"
}

query_python() { # WHAT HOW KEYS
    empty_redis
    measure "$1" env PGDATABASE=items "$python" "$here/loop.py" "$work/redis/socket" "$2" "$3"
    [ "$(said keys)" = "$3" ] || fail "'$1' wrote $(said keys) keys instead of $3"
    note "$1" keys_per_second "$(awk -v keys="$3" -v seconds="$(said seconds)" 'BEGIN { print keys / seconds }')"
}

query_loop() {
    query_python "Python, a query and a SET a key" loop 5000
}

query_pipelined() {
    query_python "Python, a cursor and pipelines" pipelined 100000
}

section_query() {
    local -a ways=(query_postgres query_pipe query_benchmark query_benchmark_nx query_sqlite query_mariadb
        query_targets)
    start_redis
    if [ -n "$with_python" ]; then
        need_python
        ways+=(query_loop query_pipelined)
    fi
    items_in_postgres items "$items"
    items_elsewhere
    items_jobs
    for ((round = 1; round <= rounds; round++)); do
        say "query: round $round of $rounds"
        in_turn "${ways[@]}"
    done

    heading "Query: $(thousands "$items") keys with values of 1,035 bytes" <<TEXT
SET with PX and NX into an empty Redis, no quota. Keys a second are those of the whole process, start to end, but those
of redis-benchmark and of Python are what they say of themselves. Ratios are medians of the rounds' ratios.
TEXT
    table <<SQL
SELECT what, "keys/s", "min..max",
    (SELECT text FROM ratios AS r WHERE r.what = l.what
        AND r.metric = 'keys_per_second' AND r.reference = 'psql to redis-cli --pipe') AS 'to psql to redis-cli',
    (SELECT text FROM ratios AS r WHERE r.what = l.what
        AND r.metric = 'keys_per_second' AND r.reference = 'redis-benchmark SET') AS 'to redis-benchmark SET',
    (SELECT text FROM ratios AS r WHERE r.what = l.what
        AND r.metric = 'keys_per_second' AND r.reference = 'warmd, PostgreSQL') AS 'to warmd, PostgreSQL'
FROM lines AS l
WHERE section = 'query' AND what NOT LIKE '%missing%' AND what NOT LIKE '%auto%' AND what NOT LIKE '%PTTL%'
ORDER BY place;
SQL
    table <<SQL
SELECT what, seconds, "its CPU s", "PostgreSQL CPU s", "MariaDB CPU s", "Redis CPU s", "peak MB"
FROM lines
WHERE section = 'query' AND what NOT LIKE '%missing%' AND what NOT LIKE '%auto%' AND what NOT LIKE '%PTTL%'
ORDER BY place;
SQL
    echo "The same keys again, all of them fresh, beside redis-benchmark at the same pipeline depth:"
    echo
    table <<SQL
SELECT what, "keys/s", "min..max",
    (SELECT text FROM ratios AS r WHERE r.what = l.what
        AND r.metric = 'keys_per_second' AND r.reference = 'redis-benchmark PTTL') AS 'to redis-benchmark PTTL',
    seconds, "its CPU s", "PostgreSQL CPU s", "Redis CPU s", "peak MB"
FROM lines AS l
WHERE section = 'query' AND (what LIKE '%missing%' OR what LIKE '%auto%' OR what LIKE '%PTTL%')
ORDER BY place;
SQL
    echo "From the records of warmd; seconds in the database and in Redis are added up over batches beside each other:"
    echo
    table <<SQL
SELECT what, statements, "per 1,000 keys", rows, "bytes read", bytes, "database s", "redis s"
FROM lines
WHERE section = 'query' AND has_record
ORDER BY place;
SQL
    commands
}
