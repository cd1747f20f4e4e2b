# shellcheck shell=bash
# The recommend kind on a shop at scale, beside the pipeline of an afternoon in Python.

as_of=2026-07-01T00:00:00Z

# A database of its own, with a shop of this size.
shop() { # NAME USERS PRODUCTS PURCHASES VIEWS
    start_postgres
    say "making a shop of $2 users, $3 products, $4 purchases and $5 views"
    psql -Xq -c "CREATE DATABASE $1"
    psql -Xq -d "$1" -v ON_ERROR_STOP=1 -v users="$2" -v products="$3" -v purchases="$4" -v views="$5" \
        -f "$here/sql/shop.sql" >&2
}

# The job that ships, for more users and fewer categories, and without quotas.
shop_job() { # NAME USERS [CONNECTIONS]
    local folder=$work/jobs/$1
    mkdir -p "$folder"
    cp "$root"/jobs/{active_users,popular_categories,purchases,views,products}.sql "$folder"
    sed -e "/^user_id /s/limit = [0-9]*/limit = $2/" -e '/^category /s/limit = [0-9]*/limit = 3/' \
        -e "/^events /s/ }/${3:+, connections = $3} }/g" \
        -e '/^keys_per_second/d' -e '/^queries_per_second/d' "$root/jobs/user_recommendations.toml" \
        >"$folder/user_recommendations.toml"
}

# The other job that ships for the same events.
similar_job() { # NAME
    local folder=$work/jobs/$1
    mkdir -p "$folder"
    cp "$root"/jobs/{purchases,views,products}.sql "$root/jobs/similar_products.toml" "$folder"
}

recommend_as() { # WHAT JOBS [KEYS]
    local keys=${3:-40000}
    empty_redis
    measure_warmd "$1" "$work/jobs/$2" "$(postgres_at shop)" "$keys" --as-of "$as_of"
    note_rate "$1" "$keys"
}

recommend_warmd() {
    recommend_as "warmd" shop
}

# The events by two or three connections that see one snapshot.
recommend_two() {
    recommend_as "warmd, two connections" shop_two
}

recommend_three() {
    recommend_as "warmd, three connections" shop_three
}

# Another job on the same events, by itself and with the first.
recommend_similar() {
    recommend_as "warmd, similar products" shop_similar 20000
}

recommend_both() {
    recommend_as "warmd, both jobs together" shop_both 60000
}

# The same model for one user: what the others cost is the difference.
recommend_one() {
    empty_redis
    measure_warmd "warmd, one user" "$work/jobs/shop_one" "$(postgres_at shop)" 4 --as-of "$as_of"
}

# OpenBLAS's own threads get in the way of implicit's: it is several times slower with them, and warns of it.
recommend_python() {
    local part
    empty_redis
    measure "afternoon in Python" env PGDATABASE=shop OPENBLAS_NUM_THREADS=1 \
        "$python" "$here/afternoon.py" "$work/redis/socket" 10000
    note_rate "afternoon in Python" 40000
    [ "$(cache DBSIZE)" = 40000 ] || fail "the afternoon's pipeline did not write 40000 keys"
    for part in load fit recommend; do
        note "afternoon in Python" "$part" "$(said "$part")"
    done
}

section_recommend() {
    local -a ways=(recommend_warmd recommend_two recommend_three recommend_similar recommend_both recommend_one)
    start_redis
    if [ -n "$with_python" ]; then
        need_python
        ways+=(recommend_python)
    fi
    shop shop 100000 20000 2000000 4000000
    shop_job shop 10000
    shop_job shop_two 10000 2
    shop_job shop_three 10000 3
    shop_job shop_one 1
    similar_job shop_similar
    shop_job shop_both 10000
    similar_job shop_both
    for ((round = 1; round <= rounds; round++)); do
        say "recommend: round $round of $rounds"
        in_turn "${ways[@]}"
    done

    heading "Recommend: 10,000 users, four lists each" <<TEXT
100,000 users, 20,000 products, 2,000,000 purchases and 4,000,000 views in PostgreSQL; lists overall and in three
categories for the 10,000 most active users, 40,000 keys. The job is jobs/user_recommendations.toml without its quotas;
with two or three connections, these read each of its two statements of events. Similar products are
jobs/similar_products.toml, 20,000 keys from the same events.
TEXT
    table <<SQL
SELECT what, seconds, "min..max s", "keys/s", "its CPU s", "PostgreSQL CPU s", "Redis CPU s", "peak MB",
    (SELECT text FROM ratios AS r WHERE r.what = l.what
        AND r.section = l.section AND r.metric = 'seconds' AND r.reference = 'warmd') AS 'time to that of warmd'
FROM lines AS l
WHERE section = 'recommend'
ORDER BY place;
SQL
    echo "From the records of warmd; seconds of batches beside each other are added up:"
    echo
    table <<SQL
SELECT what, statements, "per 1,000 keys", rows, "bytes read", bytes, "database s", "compute s", "redis s"
FROM lines
WHERE section = 'recommend' AND has_record
ORDER BY place;
SQL
    echo "Recommending and writing alone:"
    echo
    table <<SQL
CREATE TEMP TABLE alone AS
SELECT 'warmd, more than one user' AS what, round, 39996 / (a.value - b.value) AS rate
FROM figures AS a JOIN figures AS b USING (section, round, metric)
WHERE section = 'recommend' AND metric = 'seconds' AND a.what = 'warmd' AND b.what = 'warmd, one user'
UNION ALL
SELECT what, round, 40000 / value FROM figures WHERE section = 'recommend' AND metric = 'recommend';
INSERT INTO figures SELECT 'alone', what, round, 'keys_per_second', rate FROM alone;
SELECT what, "keys/s", "min..max" FROM lines WHERE section = 'alone' ORDER BY place;
SQL
    if [ -n "$with_python" ]; then
        table <<SQL
SELECT what, metric AS part, printf('%.2f', median) AS seconds, printf('%.2f..%.2f', low, high) AS 'min..max'
FROM medians
WHERE section = 'recommend' AND metric IN ('load', 'fit', 'recommend')
ORDER BY metric = 'recommend', metric = 'fit';
SQL
    else
        echo "Without a reference: \`--with-python\` runs one."
        echo
    fi
    commands
}
