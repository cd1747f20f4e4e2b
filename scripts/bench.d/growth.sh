# shellcheck shell=bash
# Recommendations of shops that double: in users, in products, in events of the same users.

growth_of() { # NAME USERS PRODUCTS PURCHASES VIEWS
    eval "growth_$1() {
        empty_redis
        measure_warmd '$1' '$work/jobs/$1' '$(postgres_at "$1")' $((4 * $2 / 10)) --as-of '$as_of'
    }"
    shop "$@"
    shop_job "$1" $(($2 / 10))
    growing+=("growth_$1")
    local label
    case $1 in
        users_*) label=$2 ;;
        products_*) label=$3 ;;
        events_*) label=$(($4 + $5)) ;;
    esac
    growth_sizes+=("('$1', '${1%_*}', ${1##*_}, $label)")
}

section_growth() {
    local step series
    local -a growing growth_sizes=()
    start_redis
    start_postgres
    for series in users products events; do
        growing=()
        for step in 0 1 2 3; do
            case $series in
                users)
                    growth_of "users_$step" $((12500 << step)) 5120 $((250000 << step)) $((500000 << step)) ;;
                products)
                    growth_of "products_$step" 25000 $((2560 << step)) 500000 1000000 ;;
                events)
                    growth_of "events_$step" 12500 5120 $((125000 << step)) $((250000 << step)) ;;
            esac
        done
        for ((round = 1; round <= rounds; round++)); do
            say "growth of $series: round $round of $rounds"
            in_turn "${growing[@]}"
        done
        for step in 0 1 2 3; do
            psql -Xq -c "DROP DATABASE ${series}_$step WITH (FORCE)"
        done
    done
    heading "Growth" <<TEXT
Recommendations from PostgreSQL, four lists for the most active tenth of the users. More users bring their own events
(60 each); more products share the events of 25,000 users; more events are those of the same 12,500 users (30 to 240
each). Users and products are Zipf-like, so the busiest user has hundreds of times as many events as most. A doubling
shows the median of the rounds' ratios to the line above.
TEXT
    table <<SQL
CREATE TABLE sizes (what TEXT, series TEXT, step INTEGER, size INTEGER);
INSERT INTO sizes VALUES $(IFS=,; echo "${growth_sizes[*]}");
CREATE VIEW doublings AS
SELECT a.what, r.metric, r.ratio
FROM sizes AS a
JOIN sizes AS b ON b.series = a.series AND b.step = a.step - 1
JOIN ratios AS r ON r.section = 'growth' AND r.what = a.what AND r.reference = b.what;
SELECT s.series AS growing, printf('%,d', s.size) AS size, l.seconds, l."min..max s", l."its CPU s", l."compute s",
    l."peak MB",
    (SELECT printf('%.2f', ratio) FROM doublings AS d WHERE d.what = s.what AND d.metric = 'seconds') AS 'time by',
    (SELECT printf('%.2f', ratio) FROM doublings AS d WHERE d.what = s.what AND d.metric = 'cpu') AS 'CPU by',
    (SELECT printf('%.2f', ratio) FROM doublings AS d WHERE d.what = s.what AND d.metric = 'memory') AS 'memory by'
FROM sizes AS s JOIN lines AS l ON l.section = 'growth' AND l.what = s.what
ORDER BY s.rowid;
SQL
    # The others are its like.
    commands users_0
}
