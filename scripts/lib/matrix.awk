# Joins the cases of docs/faults.md (first file) with the output of `cargo test -- --show-output` (second): case, test, result.
# A test that ends early says `skipped: ` and why; a case that no other test covers has none here. Exits with 1 when a test
# failed, or when a case has neither a test nor a reason why not.

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

# Two programs may have a test of one name each.
/^running [0-9]+ tests?$/ { program++ }

/^test .* \.\.\. (ok|FAILED|ignored)/ {
    name[++ran] = $2
    result[ran] = ($0 ~ /\.\.\. ok/) ? "ok" : ($0 ~ /\.\.\. FAILED/) ? "FAILED" : "ignored"
    number[program, $2] = ran
    if (result[ran] == "FAILED") { failed++ }
}

/^---- .* stdout ----$/ { speaks = number[program, $2] }
/^test result: / { speaks = 0 }
/^skipped: / && speaks && result[speaks] == "ok" {
    result[speaks] = "skipped"
    skipped[speaks] = ": " substr($0, 10)
}

function add(id, n) {
    tests[id] = tests[id] sprintf("  %-8s %-7s %s%s\n", (count[id]++ ? "" : id), result[n], name[n], skipped[n])
    if (result[n] == "ok" || result[n] == "FAILED") { covered[id] = 1 }
}

# A name may carry more than one number, as in `fs_02_03_`.
function add_to_cases(n,    rest, part, parts, i) {
    rest = "_" name[n]
    gsub(/::/, "_", rest)
    while (match(rest, /_(cp|ck|fs|git|pr|ld|sec|pg|ll|lg)(_[0-9][0-9])+_/)) {
        parts = split(substr(rest, RSTART + 1, RLENGTH - 2), part, "_")
        for (i = 2; i <= parts; i++) { add(toupper(part[1]) "-" part[i], n) }
        rest = substr(rest, RSTART + RLENGTH - 1)
    }
}

END {
    for (n = 1; n <= ran; n++) { add_to_cases(n) }
    for (i = 1; i <= cases; i++) {
        id = order[i]
        if (!(id in tests)) continue
        printf "%s", tests[id]
        if (id in covered) { automated++ } else { idle++ }
    }
    print "\nwithout a test:"
    for (i = 1; i <= cases; i++) {
        id = order[i]
        if (id in tests) continue
        printf "  %-8s %s\n", id, (id in why) ? why[id] : "NO REASON GIVEN"
        if (!(id in why)) { silent++ }
    }
    printf "\n%d of %d cases have a test that ran, %d only such as were skipped here; %d tests failed; %d cases have neither a test nor a reason\n", \
        automated, cases, idle, failed, silent
    exit (failed || silent) ? 1 : 0
}
