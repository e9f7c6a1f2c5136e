# The service's image: the locked environment, the checkout, and a user without rights.
FROM python:3.11-slim-bookworm

RUN useradd --uid 1000 --create-home headlines \
    && install -d -o headlines -g headlines /opt/headlines /var/lib/headlines /srv/models /srv/models/headlines /srv/drops
WORKDIR /opt/headlines

COPY requirements-celery.lock pyproject.toml ./
RUN pip install --no-cache-dir uv==0.13.8 \
    && uv pip sync --system --no-cache --compile-bytecode requirements-celery.lock

COPY --chown=headlines:headlines . .
RUN uv pip install --system --no-cache --no-build-isolation --no-deps --editable .

USER headlines
ENV PYTHONUNBUFFERED=1
CMD ["retraining", "--help"]
