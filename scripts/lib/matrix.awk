# Joins the cases of docs/faults.md (first file) with the output of `cargo test` (second): case, tests, result. Exits with 1
# when a test failed, or when a case has neither a test nor a reason why not.

FNR == NR {
    if (/^## Without a test/) { reasons = 1 }
    if (match($0, /^\| [A-Z]+-[0-9]+ \|/)) {
        split($0, cell, " \\| ")
        id = substr(cell[1], 3)
        if (reasons) { sub(/ \|$/, "", cell[2]); why[id] = cell[2] }
        else { order[++cases] = id }
    }
    next
}

/^test .* \.\.\. (ok|FAILED|ignored)/ {
    result = ($0 ~ /\.\.\. ok/) ? "ok" : ($0 ~ /\.\.\. FAILED/) ? "FAILED" : "ignored"
    name = $2
    rest = "_" name
    gsub(/::/, "_", rest)
    # A name may carry more than one number, as in `fs_02_03_`.
    while (match(rest, /_(cp|ck|fs|git|pr|ld|sec|pg)(_[0-9][0-9])+_/)) {
        parts = split(substr(rest, RSTART + 1, RLENGTH - 2), part, "_")
        for (n = 2; n <= parts; n++) {
            id = toupper(part[1]) "-" part[n]
            tests[id] = tests[id] sprintf("  %-8s %s %s\n", (count[id]++ ? "" : id), result, name)
        }
        rest = substr(rest, RSTART + RLENGTH - 1)
    }
    if (result == "FAILED") { failed++ }
}

END {
    for (i = 1; i <= cases; i++) {
        id = order[i]
        if (id in tests) { covered++; printf "%s", tests[id] }
    }
    print "\nwithout a test:"
    for (i = 1; i <= cases; i++) {
        id = order[i]
        if (id in tests) continue
        printf "  %-8s %s\n", id, (id in why) ? why[id] : "NO REASON GIVEN"
        if (!(id in why)) { silent++ }
    }
    printf "\n%d of %d cases have a test; %d failed; %d have neither a test nor a reason\n", covered, cases, failed, silent
    exit (failed || silent) ? 1 : 0
}
