"""The scheme of a token is read in any case, the token in one."""

import pytest
from pydantic import SecretStr

from serving.access import check_token
from serving.errors import ServingError

TOKEN = "s3crét à"
GOOD = TOKEN.encode()


@pytest.mark.parametrize(
    "sent",
    [
        b"Bearer " + GOOD,
        b"bearer " + GOOD,
        b"bEaReR " + GOOD,
        b"BEARER   " + GOOD + b"  ",
        b" \tBearer \t" + GOOD + b"\t",
    ],
)
def test_a_token_lets_in_however_its_scheme_is_spelt(sent: bytes) -> None:
    check_token(sent.decode("latin-1"), SecretStr(TOKEN))


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b" ",
        GOOD,
        b"Bearer" + GOOD,
        b"Bearer:" + GOOD,
        b"Basic " + GOOD,
        b"B\xe9arer " + GOOD,
        b"Bearer " + GOOD.upper(),
        b"Bearer " + GOOD[:-1],
        b"Bearer " + GOOD + b"x",
        b"Bearer " + GOOD + b" x",
        b"Bearer " + GOOD + b", Bearer " + GOOD,
        b"Bearer " + TOKEN.encode("latin-1"),
        b"Bearer " + TOKEN.encode("ascii", "replace"),
        b"Bearer \xff",
    ],
)
def test_any_other_is_refused(sent: bytes) -> None:
    with pytest.raises(ServingError) as caught:
        check_token(sent.decode("latin-1"), SecretStr(TOKEN))
    assert (caught.value.code, caught.value.http_status) == ("UNAUTHENTICATED", 401)


def test_without_a_token_everybody_is_let_in() -> None:
    check_token("", None)
    check_token("Bearer x", None)
