"""Where a database is, read from an address; what is said of it never tells the password."""

import pytest

from headlines.postgres_address import AddressError, Postgres


def test_an_address_says_host_port_database_user_password_and_options() -> None:
    place = Postgres.from_address("MLMD", "postgresql://ana:s%40fe%2F@db.example:6432/mlmd?sslmode=require")
    assert place.arguments == {
        "connect_timeout": 5, "sslmode": "require", "host": "db.example", "port": 6432, "dbname": "mlmd", "user": "ana",
        "password": "s@fe/",
    }  # fmt: skip
    assert "s@fe" not in repr(place) + str(place) + place.explain(OSError("no"))


def test_what_an_address_leaves_out_is_left_to_libpq() -> None:
    place = Postgres.from_address("MLMD", "postgresql+psycopg2://db.example/mlmd")
    assert (place.port, place.user, place.password) == (5432, "", None)
    assert "PGPASSWORD" in place.explain(OSError("no"))
    asked = Postgres.from_address("MLMD", "postgres://db.example/mlmd?user=ana&password=secret")
    assert (asked.user, asked.password, asked.options) == ("ana", "secret", {})


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql://ana:secret@db/mlmd", "'mysql://ana:***@db/mlmd' is no address of a Postgres database: it does not"),
        ("postgresql://ana:secret@db", "'postgresql://ana:***@db' is no address of a Postgres database: it names no"),
        ("postgresql://ana:se/cret@db:5432/mlmd", "'postgresql://ana:***@db:5432/mlmd' is no address"),
        ("postgresql://ana:sec@ret@db:x/mlmd", "%40 for @"),
        ("host=db dbname=mlmd password=secret", "'host=db dbname=mlmd password=***'"),
        ("postgresql://db:port/mlmd", "Port could not be cast"),
        ("metadata.db", "write postgresql://user@host:port/database"),
    ],
)
def test_what_is_no_address_is_shown_without_its_password(address: str, shown: str) -> None:
    with pytest.raises(AddressError) as refused:
        Postgres.from_address("MLMD", address)
    assert shown in str(refused.value)
    assert not {"secret", "cret", "ret@"} & {part for part in ("secret", "cret", "ret@") if part in str(refused.value)}
