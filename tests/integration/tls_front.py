"""TLS before a Postgres: the embedded one is built without, as a server behind PgBouncer or a cloud's proxy may be.

What a client sees is Postgres' own protocol: it asks by SSLRequest, is answered `S`, and shakes hands.
https://www.postgresql.org/docs/16/protocol-flow.html#PROTOCOL-FLOW-SSL
"""

import asyncio
import contextlib
import datetime
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


def make_authority(place: Path, host: str = "localhost") -> Path:
    """Makes an authority, and a certificate of its own for a host.

    Returns:
      The authority's certificate, as `sslrootcert` takes it; `server.pem` beside it has the server's and its key.
    """
    now = datetime.datetime.now(datetime.UTC)

    def sign(name: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, ours: bool) -> bytes:
        def call(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        certificate = (
            x509.CertificateBuilder()
            .subject_name(call(name))
            .issuer_name(call(authority_name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ours, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name.replace(" ", "-"))]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    # Two of one name would be told apart by their signatures alone.
    authority_name = f"authority {x509.random_serial_number():x}"[:60]
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    place.mkdir(parents=True, exist_ok=True)
    root = place / "root.pem"
    root.write_bytes(sign(authority_name, authority, authority, ours=True))
    key = server.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (place / "server.pem").write_bytes(sign(host, server, authority, ours=False) + key)
    return root


@contextlib.contextmanager
def serve_tls(postgres_port: int, certificate: Path) -> Iterator[int]:
    """Speaks TLS on a free port of loopback, and with the Postgres behind in clear.

    Yields:
      The port.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    loop = asyncio.new_event_loop()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while part := await source.read(65536):
                target.write(part)
                await target.drain()
        target.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            if await reader.readexactly(len(_SSL_REQUEST)) == _SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(context)
                behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", postgres_port)
                await asyncio.gather(copy(reader, behind_writer), copy(behind_reader, writer))
        writer.close()

    listener = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:

        def stop() -> None:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            listener.close()
            loop.call_later(0.1, loop.stop)

        loop.call_soon_threadsafe(stop)
        thread.join(10)
        loop.close()
