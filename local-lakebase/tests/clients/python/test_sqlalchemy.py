"""SQLAlchemy with a token for each connection, as the service's own examples do it, and Alembic on branches."""
import pathlib, time

import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from conftest import aged
from sqlalchemy import event, orm


class Tokens:
    """Keeps a credential until shortly before it expires, as an application does."""

    def __init__(self, place):
        self.place, self.minted, self.credential = place, 0, None

    def __call__(self):
        if self.credential is None or self.credential.expire_time.ToSeconds() - time.time() < 120:
            self.credential = self.place.workspace.postgres.generate_database_credential(self.place.endpoint)
            self.minted += 1
        return self.credential.token


def engine_of(place, tokens, **more):
    known = place.conninfo()
    url = sqlalchemy.URL.create("postgresql+psycopg", username=known["user"], host=known["host"], port=known["port"],
                                database=known["dbname"])
    tls = {"sslmode": known["sslmode"], "sslrootcert": known["sslrootcert"]}
    engine = sqlalchemy.create_engine(url, connect_args=tls, **more)

    @event.listens_for(engine, "do_connect")
    def provide_token(_dialect, _record, _args, arguments):
        arguments["password"] = tokens()

    return engine


@pytest.fixture(scope="module")
def place(module_place):
    return module_place


@pytest.fixture
def tokens(place):
    return Tokens(place)


@pytest.fixture
def engine(place, tokens):
    engine = engine_of(place, tokens, pool_size=4, pool_pre_ping=True)
    yield engine
    engine.dispose()


def pid(connection):
    return connection.scalar(sqlalchemy.text("SELECT pg_backend_pid()"))


def test_new_connections_of_a_pool_use_a_new_token(engine, tokens):
    with engine.connect() as first, engine.connect():
        assert tokens.minted == 1, "a token that is good for an hour serves many connections"
        old = tokens.credential.token
        tokens.credential.token = aged(old)
        with pytest.raises(sqlalchemy.exc.OperationalError, match="password authentication failed"):
            engine.connect()
        tokens.credential.expire_time.FromSeconds(int(time.time()) - 1)
        with engine.connect() as third:
            assert tokens.minted == 2 and tokens.credential.token != old
            assert pid(third) != pid(first), "the session that was open goes on"


class Base(orm.DeclarativeBase):
    pass


class Review(Base):
    __tablename__ = "reviews"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    text: orm.Mapped[str]


def test_objects_are_kept(engine):
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session, session.begin():
        session.add_all(Review(text=f"review {n}") for n in range(1000))
    with orm.Session(engine) as session:
        found = session.scalars(sqlalchemy.select(Review).where(Review.text.like("%99")).order_by(Review.id)).all()
        assert [review.text for review in found] == [f"review {n}" for n in range(99, 1000, 100)]
    assert [column["name"] for column in sqlalchemy.inspect(engine).get_columns("reviews")] == ["id", "text"]


def test_a_pool_recovers_when_the_compute_was_suspended(engine, place):
    with engine.connect() as connection:
        before = pid(connection)
    place.sleep()
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT 1")) == 1 and pid(connection) != before


def migrate(engine, how, revision):
    config = Config()
    config.set_main_option("script_location", str(pathlib.Path(__file__).with_name("migrations")))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        how(config, revision)


def tables(place):
    engine = engine_of(place, Tokens(place), poolclass=sqlalchemy.NullPool)
    return sorted(sqlalchemy.inspect(engine).get_table_names())


def test_migrations_change_their_own_branch_only(new_place):
    parent = new_place(no_expiry=True)
    migrated, sibling = new_place(parent.branch), new_place(parent.branch)
    engine = engine_of(migrated, Tokens(migrated), poolclass=sqlalchemy.NullPool)
    migrate(engine, command.upgrade, "head")
    assert tables(migrated) == ["alembic_version", "customers", "orders"]
    columns = {column["name"] for column in sqlalchemy.inspect(engine).get_columns("customers")}
    assert columns == {"id", "name", "email"}
    assert migrated.sql("SELECT version_num FROM alembic_version") == "0002"
    assert tables(sibling) == [] and tables(parent) == []
    migrate(engine, command.downgrade, "0001")
    assert tables(migrated) == ["alembic_version", "customers"]
    migrate(engine, command.downgrade, "base")
    assert tables(migrated) == ["alembic_version"]
    assert migrated.sql("SELECT count(*) FROM alembic_version") == "0"
