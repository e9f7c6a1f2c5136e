"""What the same settings and rows would give again."""


class ModellingError(ValueError):
    """A setting or the rows cannot be used; the message names the value, and says what to do.

    Attributes:
      may_pass: whether it may be gone at the next attempt. The task that fails with it is not tried again.
    """

    may_pass = False
