# shellcheck shell=bash
# How long the program takes to start, and how large it is.

start_times=50

section_start() {
    local begin stripped
    # The URL only says which SQL it is.
    local -a check=("$warmd" check --config "$work/warmd.toml" --jobs-dir "$root/jobs"
        --database postgres://localhost/shop)
    for ((round = 1; round <= start_times; round++)); do
        begin=$EPOCHREALTIME
        "${check[@]}" >/dev/null
        note "warmd check" seconds "$(difference "$EPOCHREALTIME" "$begin")"
        begin=$EPOCHREALTIME
        "$warmd" --version >/dev/null
        note "warmd --version" seconds "$(difference "$EPOCHREALTIME" "$begin")"
        begin=$EPOCHREALTIME
        /bin/true
        note "/bin/true" seconds "$(difference "$EPOCHREALTIME" "$begin")"
    done
    round=1
    note_command "warmd check" "${check[@]}"
    stripped=$work/warmd.stripped
    cp "$warmd" "$stripped"
    ! command -v strip >/dev/null || strip "$stripped"
    heading "Start and size" <<TEXT
\`warmd check\` of the jobs that ship, $start_times times, and as references a command that reads nothing and the
smallest program there is. The stripped program has $(thousands "$(stat -c %s "$stripped")") bytes.
TEXT
    table <<SQL
SELECT what, printf('%.1f', 1000 * median) AS ms, printf('%.1f..%.1f', 1000 * low, 1000 * high) AS 'min..max'
FROM medians
WHERE section = 'start' AND metric = 'seconds'
ORDER BY median DESC;
SQL
    commands
}
