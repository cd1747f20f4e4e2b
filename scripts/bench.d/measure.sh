# shellcheck shell=bash
# Running commands and keeping figures: one line for each in $work/figures.tsv, which report.sql makes tables of.

# One figure of this section, of `what`, in this round.
note() { # WHAT METRIC VALUE
    printf '%s\t%s\t%s\t%s\t%s\n' "$section" "$1" "$round" "$2" "$3" >>"$work/figures.tsv"
}

difference() { # A B
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.6f", a - b }'
}

# A command for the list at the end of the section, as one could type it.
note_command() { # WHAT COMMAND...
    local line="" word
    if [ "$round" -gt 1 ] && grep -qF "$section"$'\t'"$1"$'\t' "$work/commands.tsv"; then return; fi
    for word in "${@:2}"; do
        [ ${#word} -lt 1000 ] || word=VALUE
        word=${word//$work/WORK}
        word=${word//${work//\//%2F}/WORK}
        word=${word//$root\//}
        [ "$word" != "${warmd#"$root/"}" ] || word=warmd
        [[ $word =~ ^[A-Za-z0-9_./:=,%?@+-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
        line+=" $word"
    done
    printf '%s\t%s\t%s\n' "$section" "$1" "${line//$'\n'/ }" >>"$work/commands.tsv"
}

# The commands of this section, or of one thing measured where the others are its like.
commands() { # [WHAT]
    echo "The commands, after \`WARMD__*\` was taken out of the environment:"
    echo
    awk -F '\t' -v section="$section" -v what="${1-}" '
        $1 == section && (what == "" || $2 == what) { printf "    # %s\n   %s\n", $2, $3 }' "$work/commands.tsv"
    echo
}

# A heading and what there is to know about the tables below it.
heading() { # TITLE <TEXT
    printf '## %s\n\n' "$1"
    cat
    echo
}

thousands() {
    sqlite3 :memory: "SELECT printf('%,d', $1)"
}

# A member of the JSON object that the last command printed.
said() { # NAME
    sqlite3 :memory: "SELECT json_extract(readfile('$work/out'), '\$.$1')"
}

# Runs a command to its end and notes what it cost. Its output is in $work/out.
measure() { # WHAT COMMAND...
    local what=$1 begin end postgres mariadb redis user system memory
    note_command "$@"
    shift
    postgres=$(cpu_of postgres) mariadb=$(cpu_of mariadb) redis=$(cpu_of_redis)
    begin=$EPOCHREALTIME
    /usr/bin/time --quiet -f '%U %S %M' -o "$work/time" "$@" >"$work/out" 2>"$work/err" || {
        cat "$work/out" "$work/err" >&2
        fail "$what failed: $*"
    }
    end=$EPOCHREALTIME
    read -r user system memory <"$work/time"
    note "$what" seconds "$(difference "$end" "$begin")"
    note "$what" cpu "$(difference "$user" "-$system")"
    # The kernel's own high-water mark of the largest process, which is VmHWM.
    note "$what" memory "$memory"
    note "$what" postgres_cpu "$(difference "$(cpu_of postgres)" "$postgres")"
    note "$what" mariadb_cpu "$(difference "$(cpu_of mariadb)" "$mariadb")"
    note "$what" redis_cpu "$(difference "$(cpu_of_redis)" "$redis")"
}

# Warms one job and notes the figures of its record besides.
measure_warmd() { # WHAT JOBS_FOLDER DATABASE_URL EXPECTED_KEYS [ARGUMENT]...
    local what=$1 jobs=$2 database=$3 expected=$4 outcome keys metric value
    shift 4
    measure "$what" "$warmd" warm --json --config "$work/warmd.toml" --jobs-dir "$jobs" --database "$database" \
        --redis "$redis_url" "$@"
    # The sum over the jobs.
    sqlite3 -bail -separator ' ' :memory: >"$work/record" <<SQLITE
CREATE TABLE runs AS SELECT value AS run FROM json_each(readfile('$work/out'), '\$.runs');
SELECT 'outcome', group_concat(DISTINCT run ->> 'outcome') FROM runs;
WITH metrics (metric) AS (
    VALUES ('keys'), ('fresh'), ('written'), ('bytes'), ('queries'), ('rows'), ('database_bytes'), ('seconds'),
        ('database_seconds'), ('compute_seconds'), ('redis_seconds'), ('throttle_seconds')
)
SELECT metric, sum(run ->> metric) FROM runs, metrics GROUP BY metric;
SQLITE
    while read -r metric value; do
        case $metric in
            outcome) outcome=$value ;;
            keys) keys=$value ;;&
            seconds) note "$what" run_seconds "$value" ;;
            *) note "$what" "$metric" "$value" ;;
        esac
    done <"$work/record"
    [ "$outcome" = ok ] || { cat "$work/out" "$work/err" >&2; fail "$what ended as $outcome"; }
    [ "$expected" = any ] || [ "$keys" = "$expected" ] || fail "$what had $keys keys instead of $expected"
}

# What redis-benchmark says: requests a second, of its last line.
measure_benchmark() { # WHAT ARGUMENT...
    local what=$1
    shift
    measure "$what" redis-benchmark -s "$work/redis/socket" --csv "$@"
    note "$what" keys_per_second "$(tail -n 1 "$work/out" | awk -F '","' '{ print $(NF - 6) }')"
}

# Keys a second of the whole process, from start to end.
note_rate() { # WHAT KEYS
    note "$1" keys_per_second "$(awk -F '\t' -v section="$section" -v what="$1" -v round="$round" -v keys="$2" '
        $1 == section && $2 == what && $3 == round && $4 == "seconds" { seconds = $5 }
        END { printf "%.1f", keys / seconds }' "$work/figures.tsv")"
}

# Calls the named functions in this order, in every second round in the opposite one.
in_turn() { # FUNCTION...
    local -a order=("$@")
    local i
    if [ $((round % 2)) = 0 ]; then
        order=()
        for ((i = $#; i > 0; i--)); do order+=("${!i}"); done
    fi
    for i in "${order[@]}"; do
        "$i"
    done
}

# A table of a statement about the figures, with the views of report.sql.
table() { # <SQL
    sqlite3 -bail :memory: <<SQLITE
CREATE TABLE figures (section TEXT, what TEXT, round INTEGER, metric TEXT, value REAL);
.mode tabs
.import $work/figures.tsv figures
.read $here/sql/report.sql
.mode markdown
$(cat)
SQLITE
    echo
}

# An environment of Python with the libraries of the references, which the next call finds again.
need_python() {
    local folder=$target/bench-python
    python=$folder/bin/python
    [ ! -e "$folder/complete" ] || return 0
    command -v python3 >/dev/null || fail "python3 is not installed"
    say "installing the references' libraries into $folder"
    python3 -m venv --clear "$folder"
    "$python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
    touch "$folder/complete"
}
