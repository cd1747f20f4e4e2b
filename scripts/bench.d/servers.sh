# shellcheck shell=bash
# Servers of our own, on unix sockets in $work, and what they cost. None outlives the script, however it ends.

# A server's process gets the signal when this shell dies, even of a SIGKILL; setsid keeps Ctrl-C from it.
serve() { # NAME SIGNAL USER COMMAND...
    local name=$1 signal=$2 user=$3
    shift 3
    local -a as=()
    if [ "$(id -u)" = 0 ]; then
        as=(--reuid "$user" --regid "$(id -g "$user")" --clear-groups)
    fi
    setsid setpriv "${as[@]}" --pdeathsig "$signal" "$@" </dev/null >"$work/$name.log" 2>&1 &
    servers[$name]=$!
    signals[$name]=$signal
}

stop_servers() {
    local name
    for name in "${!servers[@]}"; do
        kill -s "${signals[$name]}" "${servers[$name]}" 2>/dev/null || true
    done
    for name in "${!servers[@]}"; do
        wait "${servers[$name]}" 2>/dev/null || true
        unset "servers[$name]"
    done
}

# Asks until the answer is yes.
wait_for() { # NAME COMMAND...
    local name=$1 deadline=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        if ! kill -0 "${servers[$name]}" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
            cat "$work/$name.log" >&2
            fail "$name does not start"
        fi
        sleep 0.1
    done
}

# The user that a server runs as when this script runs as root, which PostgreSQL refuses.
unprivileged() { # NAME
    if id "$1" >/dev/null 2>&1; then echo "$1"; else echo nobody; fi
}

as_user() { # USER COMMAND...
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups "$@"
    else
        "$@"
    fi
}

folder_of() { # NAME USER
    mkdir "$work/$1"
    [ "$(id -u)" != 0 ] || chown "$2" "$work/$1"
}

start_postgres() {
    [ -z "${servers[postgres]-}" ] || return 0
    local programs user
    # Debian keeps the servers of each version out of the path.
    programs=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1) ||
        programs=$(dirname "$(command -v initdb)")
    user=$(unprivileged postgres)
    folder_of postgres "$user"
    (
        cd "$work/postgres"
        as_user "$user" "$programs/initdb" --pgdata "$work/postgres/data" --username postgres --auth trust \
            --encoding UTF8 --no-locale --no-sync
    ) >"$work/postgres.log" 2>&1 || { cat "$work/postgres.log" >&2; fail "initdb failed"; }
    # QUIT is an immediate shutdown, which takes the server's own children along.
    serve postgres QUIT "$user" "$programs/postgres" -D "$work/postgres/data" -c listen_addresses= \
        -c "unix_socket_directories=$work/postgres" -c shared_buffers=1GB -c max_wal_size=4GB -c fsync=off
    export PGHOST=$work/postgres PGUSER=postgres PGDATABASE=postgres PGCLIENTENCODING=UTF8
    wait_for postgres psql -X -c 'SELECT 1'
    say "$(psql -XAt -c 'SELECT version()' | cut -d ' ' -f 1-2) is up"
}

# The URL of one of its databases.
postgres_at() { # NAME
    echo "postgres://postgres@${PGHOST//\//%2F}/$1"
}

start_mariadb() {
    [ -z "${servers[mariadb]-}" ] || return 0
    local user
    user=$(unprivileged mysql)
    folder_of mariadb "$user"
    as_user "$user" mariadb-install-db --no-defaults --datadir="$work/mariadb/data" \
        --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve >"$work/mariadb.log" 2>&1 ||
        { cat "$work/mariadb.log" >&2; fail "mariadb-install-db failed"; }
    serve mariadb KILL "$user" mariadbd --no-defaults --datadir="$work/mariadb/data" --socket="$work/mariadb/socket" \
        --pid-file="$work/mariadb/pid" --skip-networking --innodb-buffer-pool-size=1G --local-infile=1
    mariadb=(mariadb --no-defaults --user=root "--socket=$work/mariadb/socket" --local-infile=1
        --default-character-set=utf8mb4)
    wait_for mariadb "${mariadb[@]}" -e 'CREATE DATABASE IF NOT EXISTS bench CHARACTER SET utf8mb4'
    mariadb_url="mysql://root@localhost/bench?socket=$work/mariadb/socket"
    say "MariaDB $("${mariadb[@]}" -BNe 'SELECT version()') is up"
}

start_redis() {
    [ -z "${servers[redis]-}" ] || return 0
    local user
    user=$(unprivileged redis)
    folder_of redis "$user"
    serve redis KILL "$user" redis-server --port 0 --unixsocket "$work/redis/socket" --unixsocketperm 777 --save "" \
        --appendonly no --dir "$work/redis" --enable-debug-command local
    redis_url=redis+unix://$work/redis/socket
    wait_for redis cache PING
    say "Redis $(cache INFO server | tr -d '\r' | sed -n 's/^redis_version://p') is up"
}

cache() {
    redis-cli -s "$work/redis/socket" "$@"
}

empty_redis() {
    [ "$(cache FLUSHALL SYNC)" = OK ] || fail "Redis cannot be emptied"
}

# The same for the same keys and values, whoever wrote them; that a key expires counts, when it does not.
digest() {
    cache DEBUG DIGEST
}

# Processor seconds since the start: of a server's process and its children, the ended ones included.
cpu_of() { # NAME
    [ -n "${servers[$1]-}" ] || { echo 0; return; }
    { cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v server="${servers[$1]}" -v hertz="$(getconf CLK_TCK)" '
        {
            pid = $1
            sub(/^.*\) /, "")
            if (pid == server) ticks += $12 + $13 + $14 + $15
            else if ($2 == server) ticks += $12 + $13
        }
        END { printf "%.2f\n", ticks / hertz }'
}

cpu_of_redis() {
    [ -n "${servers[redis]-}" ] || { echo 0; return; }
    cache INFO cpu | tr -d '\r' | awk -F : '/^used_cpu_(user|sys):/ { s += $2 } END { printf "%.3f\n", s }'
}
