"""Who may ask: whoever knows the token, over every protocol alike."""

import hmac

from pydantic import SecretStr

from serving.errors import ServingError


def check_token(authorization: str, token: SecretStr | None) -> None:
    """Refuses a request that does not bear the token; without a token everybody may ask.

    Args:
      authorization: what the request says of itself, `Bearer <token>`, its bytes read as Latin-1, as HTTP does; the
        scheme's case is no matter (RFC 9110, 11.1).
      token: what it must bear.

    Raises:
      ServingError: it bears none, or another.
    """
    if token is None:
        return
    scheme, _, credentials = authorization.strip(" \t").partition(" ")
    # Clients send a token beyond ASCII in UTF-8; in Latin-1 some of its bytes are white space, which stays.
    sent = credentials.strip(" \t").encode("latin-1", "replace")
    is_known = hmac.compare_digest(sent, token.get_secret_value().encode())
    if scheme.lower() != "bearer" or not is_known:
        raise ServingError("UNAUTHENTICATED", "send the header 'Authorization: Bearer <token>'")
