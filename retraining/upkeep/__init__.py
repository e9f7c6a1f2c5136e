"""What a service needs over years beside its nights: upgrades, a backup and the way back
from one, secrets that are rotated.

Nothing here may import tfx, tensorflow or airflow: those run in processes of their own.
"""

from retraining.local import LocalError


class UpgradeError(LocalError):
    """The service was not upgraded; the message says why, what stands now and what to do."""
