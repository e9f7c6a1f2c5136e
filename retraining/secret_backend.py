"""Asks the secrets backend of Airflow's configuration for variables: `python -m retraining.secret_backend NAME…`.

A program of its own, since settings import no Airflow. Its last line is a JSON object of values by name, for a pipe.
"""

import json
import sys

from airflow.configuration import get_custom_secret_backend


def main() -> None:
    """Prints the values; null for what the backend does not have."""
    backend = get_custom_secret_backend()
    if backend is None:
        sys.exit("AIRFLOW__SECRETS__BACKEND is not set")
    print(json.dumps({name: backend.get_variable(name) for name in sys.argv[1:]}))


if __name__ == "__main__":
    main()
