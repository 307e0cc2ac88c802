"""psql: TLS, passwords that are refused, \\copy, Ctrl-C, and a compute that sleeps."""
import os, pty, select, signal, subprocess

from conftest import DATABASE, aged, until


def test_tls_is_required_and_verified(place, tmp_path):
    for mode in ("require", "verify-ca", "verify-full"):
        said = place.psql("-c", "\\conninfo", PGSSLMODE=mode)
        assert "TLSv1.3" in said.stdout, said
    said = place.psql("-c", "SELECT 1", PGSSLMODE="disable")
    assert said.returncode == 2 and "FATAL:  SSL connection is required" in said.stderr
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=other", "-keyout", os.devnull, "-out", other], check=True, capture_output=True)
    said = place.psql("-c", "SELECT 1", PGSSLROOTCERT=str(other))
    assert said.returncode == 2 and "certificate verify failed" in said.stderr


def test_the_user_is_the_caller_and_the_database_is_there(place):
    assert place.sql("SELECT current_user, current_database()") == f"{place.user}|{DATABASE}"


def test_every_wrong_token_hears_the_same(place, new_place):
    right, refused = place.token(), f'FATAL:  password authentication failed for user "{place.user}"'
    assert place.psql("-c", "SELECT 1", PGPASSWORD=right).returncode == 0
    wrong = {"nonsense": "x", "of another branch": new_place().token(), "expired": aged(right),
             "forged": right[:-1] + ("A" if right[-1] != "A" else "B")}
    for what, token in wrong.items():
        said = place.psql("-c", "SELECT 1", PGPASSWORD=token)
        assert said.returncode == 2 and refused in said.stderr, f"{what}: {said.stderr}"
    said = place.psql("-c", "SELECT 1", PGUSER="mallory")
    assert said.returncode == 2 and 'password authentication failed for user "mallory"' in said.stderr


def test_copy_brings_rows_in_and_out(place, tmp_path):
    rows = "".join(f"{n}\tline {n} ü\n" for n in range(50_000))
    (tmp_path / "in").write_text(rows)
    script = f"CREATE TABLE lines (n int, text text);\n\\copy lines FROM '{tmp_path}/in'\n" \
             f"\\copy (SELECT * FROM lines ORDER BY n) TO '{tmp_path}/out'\nSELECT count(*), sum(n) FROM lines;\n"
    said = place.psql("-q", stdin=script)
    assert (said.stdout, said.stderr) == ("50000|1249975000\n", "")
    assert (tmp_path / "out").read_text() == rows


def test_ctrl_c_cancels_the_query_and_not_the_session(place):
    # Only at a terminal does psql stay when a query is cancelled.
    terminal, its_end = pty.openpty()
    psql = subprocess.Popen(["psql", "-XAtnq"], env=place.env(), stdin=its_end, stdout=its_end, stderr=its_end,
                            start_new_session=True)
    os.close(its_end)
    heard = ""

    def hears(text):
        nonlocal heard
        if select.select([terminal], [], [], 0)[0]:
            heard += os.read(terminal, 4096).decode()
        return text in heard

    try:
        os.write(terminal, b"SELECT pg_sleep(60);\n")
        running = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60);' AND state = 'active'"
        until("the query runs", lambda: place.sql(running) == "1")
        psql.send_signal(signal.SIGINT)
        until("psql says so", lambda: hears("ERROR:  canceling statement due to user request"))
        os.write(terminal, b"SELECT 'still ' || 'here';\n")
        until("the session goes on", lambda: hears("still here"))
    finally:
        psql.kill()
        psql.wait()
        os.close(terminal)


def test_a_connection_wakes_the_compute(place):
    place.sql("CREATE TABLE kept AS SELECT 7 AS n")
    place.sleep()
    assert place.state() == "IDLE"
    assert place.sql("SELECT n FROM kept") == "7"
    assert place.state() == "ACTIVE"


def test_branches_are_apart(new_place):
    parent = new_place(no_expiry=True)
    parent.sql("CREATE TABLE kept AS SELECT 'parent' AS text")
    child = new_place(parent.branch)
    child.sql("INSERT INTO kept VALUES ('child')")
    assert child.sql("SELECT string_agg(text, ' ' ORDER BY text) FROM kept") == "child parent"
    assert parent.sql("SELECT string_agg(text, ' ') FROM kept") == "parent"
