"""Who may ask: whoever knows the token, over every protocol alike."""

import hmac

from pydantic import SecretStr

from serving.errors import ServingError


def check_token(authorization: str, token: SecretStr | None) -> None:
    """Refuses a request that does not bear the token; without a token everybody may ask.

    Args:
      authorization: what the request says of itself, `Bearer <token>`; the scheme's case is no matter (RFC 9110, 11.1).
      token: what it must bear.

    Raises:
      ServingError: it bears none, or another.
    """
    if token is None:
        return
    scheme, _, credentials = authorization.strip().partition(" ")
    is_known = hmac.compare_digest(credentials.strip().encode("utf-8", "replace"), token.get_secret_value().encode())
    if scheme.lower() != "bearer" or not is_known:
        raise ServingError("UNAUTHENTICATED", "send the header 'Authorization: Bearer <token>'")
