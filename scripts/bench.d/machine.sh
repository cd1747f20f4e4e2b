# shellcheck shell=bash
# On what all this was measured, and with which settings.

machine() {
    local commit processor memory system database mariadb redis load
    commit=$(git -C "$root" describe --always --dirty 2>/dev/null) || commit=unknown
    processor=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
    memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)
    system=$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)
    database=$(psql --version | awk '{ print $3 }')
    mariadb=$(mariadbd --version | sed 's/.*Ver \([0-9.]*\).*/\1/')
    redis=$(redis-server --version | sed 's/.*v=\([0-9.]*\).*/\1/')
    load=$(cut -d ' ' -f 1 /proc/loadavg)
    cat <<MARKDOWN
Measured $(date -u +%F) by \`scripts/bench${given:+ $given}\` at $commit.
$rounds rounds; all that is compared runs in turn, in the opposite order in every second round.

- $(nproc) cores${processor:+ ($processor)}, $memory, $system, Linux $(uname -r); load in the minute before: $load
- $("$warmd" --version), no history, log level warn; PostgreSQL $database with shared_buffers=1GB, max_wal_size=4GB and
  fsync=off; MariaDB $mariadb with innodb-buffer-pool-size=1G; Redis $redis without persistence; all else as it comes,
  all on this machine, over unix sockets

MARKDOWN
}
