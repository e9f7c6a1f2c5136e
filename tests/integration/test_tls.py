"""TLS to Postgres: who is answered, who is refused, and that MLMD's own client never goes in clear over a network."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from ml_metadata.proto import metadata_store_pb2
from tls_front import make_authority, serve_tls

from lineage import LineageError, database
from retraining.cli import doctor
from retraining.local import airflow_options, preparation
from retraining.recording.store import StoreError, connection_config, open_store
from retraining.settings import Settings, SettingsError


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    return make_authority(tmp_path / "certificates")


@pytest.fixture
def encrypted(settings: Settings, certificates: Path) -> Iterator[Settings]:
    """Settings whose databases are reached by TLS, as a host's name that the certificate bears, and by a tunnel."""
    with serve_tls(settings.mlmd_port, certificates.parent / "server.pem") as port:
        yield settings.model_copy(
            update={
                "postgres_embedded": False,
                "postgres_sslmode": "verify-full",
                "postgres_sslrootcert": certificates,
                "mlmd_host": "localhost",
                "mlmd_port": port,
                "mlmd_tunnel": f"127.0.0.1:{settings.mlmd_port}",
                "airflow_db_host": "localhost",
                "airflow_db_port": port,
                "airflow_db_database": settings.mlmd_database,
                "airflow_db_user": settings.mlmd_user,
                "airflow_db_password": settings.mlmd_password,
            }
        )


def test_what_mlmd_writes_by_the_tunnel_lineage_reads_by_tls(encrypted: Settings) -> None:
    store = open_store(connection_config(encrypted))
    store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Headlines"))
    with closing(database.connect(encrypted.mlmd)) as connection, connection.cursor() as cursor:
        assert connection.info.ssl_in_use
        cursor.execute("SELECT name FROM type WHERE name = 'Headlines'")
        assert cursor.fetchall() == [("Headlines",)]


def test_airflow_s_address_has_its_driver_use_tls(encrypted: Settings) -> None:
    engine = sqlalchemy.create_engine(airflow_options.url(encrypted))
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection.info.ssl_in_use
    engine.dispose()


def test_a_server_that_another_authority_has_signed_or_of_another_name_is_refused(
    encrypted: Settings, tmp_path: Path
) -> None:
    other = make_authority(tmp_path / "other")
    for update, why in (
        ({"postgres_sslrootcert": other}, "certificate verify failed"),
        ({"mlmd_host": "127.0.0.1"}, 'does not match host name "127.0.0.1"'),
    ):
        with pytest.raises(LineageError, match=why) as refused:
            database.connect(encrypted.model_copy(update=update).mlmd)
        assert "POSTGRES_SSLMODE" in str(refused.value)


def test_a_server_without_tls_is_refused_where_it_is_required(settings: Settings) -> None:
    plain = settings.model_copy(update={"postgres_embedded": False, "postgres_sslmode": "require"})
    with pytest.raises(LineageError, match="server does not support SSL"):
        database.connect(plain.mlmd)


def test_mlmd_s_client_does_not_go_in_clear_over_a_network_where_tls_is_required(settings: Settings) -> None:
    abroad = settings.model_copy(
        update={"postgres_embedded": False, "postgres_sslmode": "verify-full", "mlmd_host": "db.example.org"}
    )
    with pytest.raises(StoreError, match=r"POSTGRES_SSLMODE=verify-full.*db\.example\.org in clear.*MLMD_TUNNEL"):
        connection_config(abroad)
    for host in ("127.0.0.1", "localhost", "::1", "/var/run/postgresql"):
        assert connection_config(abroad.model_copy(update={"mlmd_host": host})).postgresql.host == host
    by_tunnel = connection_config(abroad.model_copy(update={"mlmd_tunnel": "[::1]:6432"})).postgresql
    assert (by_tunnel.host, by_tunnel.port) == ("::1", "6432")


def test_doctor_says_of_each_database_how_it_is_reached(encrypted: Settings, settings: Settings) -> None:
    texts = {which: preparation.describe_encryption(encrypted, which) for which in ("airflow", "mlmd")}
    assert all("TLSv1.3" in text for text in texts.values()), texts
    assert preparation.describe_encryption(settings, "mlmd") == "in clear, within this machine"
    finding = doctor._database(encrypted, "mlmd", has_postgres=True)
    assert finding.level == "ok"
    assert "TLSv1.3" in finding.text and "MLMD's own client: in clear to 127.0.0.1" in finding.text


def test_settings_that_promise_tls_where_there_is_none_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    monkeypatch.setenv("POSTGRES_SSLMODE", "verify-full")
    with pytest.raises(SettingsError, match=r"POSTGRES_SSLMODE='verify-full': the embedded Postgres has no TLS"):
        Settings.from_env()
    monkeypatch.setenv("POSTGRES_EMBEDDED", "false")
    for tunnel in ("db.example.org:5432", "127.0.0.1", "127.0.0.1:0"):
        monkeypatch.setenv("MLMD_TUNNEL", tunnel)
        with pytest.raises(SettingsError, match=r"MLMD_TUNNEL=.*write host:port of this machine"):
            Settings.from_env()
