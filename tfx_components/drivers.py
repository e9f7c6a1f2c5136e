"""What the drivers of our components have in common."""

from typing import Any

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as portable_driver


class EitherDriver(base_driver.BaseDriver, portable_driver.BaseDriver):
    """A driver for both launchers: the one that runs under Airflow and the one that runs under LocalDagRunner."""

    def __init__(self, metadata_handle: Any) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)
        portable_driver.BaseDriver.__init__(self, metadata_handle)
