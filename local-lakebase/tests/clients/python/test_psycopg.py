"""psycopg 3: a token for each connection, and everything of the protocol that it uses."""
import psycopg
import pytest
from conftest import aged, until


@pytest.fixture(scope="module")
def place(module_place):
    return module_place


@pytest.fixture
def connect(place):
    """Connects with a fresh token; all are closed at the end."""
    opened = []

    def open_one(**more):
        opened.append(psycopg.connect(**place.conninfo(**more), connect_timeout=20))
        return opened[-1]

    yield open_one
    for session in opened:
        session.close()


def test_an_expired_token_opens_nothing_and_ends_nothing(connect, place):
    token = place.token()
    session = connect(password=token)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(password=aged(token))
    assert session.execute("SELECT 1").fetchone() == (1,)


def test_settings_of_the_connection_are_applied(connect):
    session = connect(options="-c search_path=pg_catalog -c work_mem=5MB", application_name="clients")
    shown = session.execute("SELECT current_setting('search_path'), current_setting('work_mem'), "
                            "current_setting('application_name')").fetchone()
    assert shown == ("pg_catalog", "5MB", "clients")


def test_a_replication_connection_is_refused(connect):
    with pytest.raises(psycopg.OperationalError, match="replication connections are not supported"):
        connect(replication="database")
    assert connect(replication="off").execute("SELECT 1").fetchone() == (1,)


def test_transactions_and_errors(connect):
    session = connect()
    with session.transaction():
        session.execute("CREATE TABLE documents (n int PRIMARY KEY, document jsonb)")
    with pytest.raises(psycopg.errors.UniqueViolation), session.transaction():
        session.execute("INSERT INTO documents VALUES (1), (1)")
    with session.transaction():
        session.execute("INSERT INTO documents VALUES (%s, %s)", (2, psycopg.types.json.Jsonb({"a": ["ü", None]})))
    assert session.execute("SELECT document FROM documents").fetchall() == [({"a": ["ü", None]},)]


def test_pipeline_mode(connect):
    session = connect()
    with session.pipeline() as pipeline:
        cursors = [session.execute("SELECT %s::int * 2", (n,)) for n in range(200)]
        pipeline.sync()
        assert [cursor.fetchone()[0] for cursor in cursors] == [2 * n for n in range(200)]
    with pytest.raises(psycopg.errors.DivisionByZero), session.pipeline():
        session.execute("SELECT 1 / 0")
    session.rollback()
    assert session.execute("SELECT 1").fetchone() == (1,)


def test_copy_in_both_directions(connect):
    session, rows = connect(), [(n, f"line {n}", bytes([n % 256]) * 100) for n in range(20_000)]
    session.execute("CREATE TABLE lines (n int, text text, blob bytea)")
    with session.cursor().copy("COPY lines FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int4", "text", "bytea"])
        for row in rows:
            copy.write_row(row)
    with session.cursor().copy("COPY (SELECT * FROM lines ORDER BY n) TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(["int4", "text", "bytea"])
        assert list(copy.rows()) == rows


def test_prepared_statements(connect):
    session = connect()
    for n in range(10):
        assert session.execute("SELECT %s::int + 1", (n,), prepare=True).fetchone() == (n + 1,)
    assert session.execute("SELECT sum(generic_plans + custom_plans) FROM pg_prepared_statements").fetchone()[0] >= 10


def test_notifications(connect):
    listener, speaker = connect(), connect()
    for session in (listener, speaker):
        session.autocommit = True
    listener.execute("LISTEN news")
    speaker.execute("SELECT pg_notify('news', 'hello')")
    [heard] = listener.notifies(timeout=20, stop_after=1)
    assert (heard.channel, heard.payload, heard.pid) == ("news", "hello", speaker.info.backend_pid)


def test_a_server_side_cursor(connect):
    session = connect()
    with session.cursor("big", scrollable=True) as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT generate_series(1, 50000)")
        assert sum(n for (n,) in cursor) == 1_250_025_000
        cursor.scroll(0, mode="absolute")
        assert cursor.fetchmany(3) == [(1,), (2,), (3,)]


def test_a_query_is_cancelled(connect):
    import threading
    session, watcher = connect(), connect()
    watcher.autocommit = True
    running = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND query LIKE '%%pg_sleep%%' AND state = 'active'"

    def cancel():
        until("the query runs", lambda: watcher.execute(running, (session.info.backend_pid,)).fetchone() == (1,))
        session.cancel_safe(timeout=20)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.execute("SELECT pg_sleep(60)")
    canceller.join()
    session.rollback()
    assert session.execute("SELECT 1").fetchone() == (1,)


def test_reconnecting_after_the_compute_was_suspended(connect, place):
    session = connect()
    session.execute("CREATE TABLE kept AS SELECT 7 AS n")
    session.commit()
    place.sleep()
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert session.closed and connect().execute("SELECT n FROM kept").fetchone() == (7,)
