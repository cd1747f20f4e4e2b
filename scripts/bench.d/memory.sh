# shellcheck shell=bash
# What the query kind holds in memory, for 500,000 keys and for four times as many.

memory_keys=(500000 2000000)
memory_runs=()

memory_of() { # HOW KEYS
    empty_redis
    measure_warmd "$1, $(thousands "$2")" "$work/jobs/memory_$1_$2" "$(postgres_at many_items)" "$2"
    note "$1, $(thousands "$2")" growth "$2"
}

section_memory() {
    local keys how run statement
    start_redis
    items_in_postgres many_items 2000000
    statement="SELECT $items_columns FROM items WHERE"
    for keys in "${memory_keys[@]}"; do
        items_job "memory_rows_$keys" "[query]
sql = '''$statement id < '$(printf %012d "$keys")' '''"
        items_job "memory_targets_$keys" "[targets]
id = { sql = '''SELECT id FROM items WHERE id < '$(printf %012d "$keys")' ''' }
[query]
sql = '$statement id IN (:id)'"
        for how in rows targets; do
            eval "memory_${how}_$keys() { memory_of $how $keys; }"
            memory_runs+=("memory_${how}_$keys")
        done
    done
    for ((round = 1; round <= rounds; round++)); do
        say "memory: round $round of $rounds"
        in_turn "${memory_runs[@]}"
    done
    heading "Memory of the query kind" <<TEXT
Peak memory of warmd (the kernel's high-water mark) for the items of the section on queries, from PostgreSQL
into an empty Redis: one statement whose rows become the keys, and one statement for each batch of a target list.
TEXT
    table <<SQL
SELECT what AS 'how, keys', "peak MB", "min..max MB",
    (SELECT text FROM ratios AS r WHERE r.section = l.section
        AND r.metric = 'memory' AND r.what = l.what AND r.reference = replace(l.what, '2,000,000', '500,000'))
        AS 'to 500,000 keys', seconds, "its CPU s"
FROM lines AS l
WHERE section = 'memory'
ORDER BY place;
SQL
    commands
}
