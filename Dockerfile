# The service's image: the locked environment, the code, and a user without rights. What is in it and why: docs/containers.md.
# With a registry at hand a digest pins it: --build-arg BASE=python:3.11-slim-bookworm@sha256:..., or PYTHON_IMAGE for Compose.
ARG BASE=python:3.11-slim-bookworm

FROM $BASE AS packages
RUN pip install --no-cache-dir --root-user-action ignore uv==0.13.8
ENV UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/venv
RUN uv venv /opt/venv
WORKDIR /opt/headlines
COPY requirements-celery.lock pyproject.toml ./
COPY serving/requirements.lock serving/
# TensorFlow's own build without CUDA, of the same version, takes the place of the one with it, of whose libraries there are
# none here: a GPU could not be used. Nothing is compiled against TensorFlow or parses C, nor are other people's tests run.
RUN uv pip sync --require-hashes --compile-bytecode requirements-celery.lock \
    && sed -n '/^tensorflow-cpu==/,/[^\\]$/p' serving/requirements.lock >/tmp/cpu.lock \
    # Elsewhere, since pyproject.toml's constraints have no hashes, which uv then asks for.
    && uv pip install --directory /tmp --require-hashes --no-deps --compile-bytecode --requirement cpu.lock \
    && cd /opt/venv/lib/python3.11/site-packages \
    && rm -rf tensorflow/include clang/native \
    && find numpy pandas pyarrow scipy sklearn statsmodels -type d -name tests -prune -exec rm -rf {} +

# The code alone, so that another version of it is a small layer over the same packages.
FROM packages AS code
COPY . .
RUN uv pip install --prefix /opt/installed --no-build-isolation --no-deps --editable . \
    && python -m compileall -q .

FROM $BASE
RUN useradd --uid 1000 --create-home headlines \
    && install -d -o headlines -g headlines /var/lib/headlines /srv/models /srv/models/headlines /srv/drops \
    # The base has the standard library without bytecode, which a read-only container would compile at every start.
    && python -m compileall -q -x '/(test|tests|idlelib|lib2to3|tkinter|turtledemo|[a-z]+-packages)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /opt/headlines
COPY --from=packages /opt/venv /opt/venv
COPY --from=code /opt/installed /opt/venv
COPY --from=code /opt/headlines .
RUN python scripts/image_sbom.py service >/opt/sbom.cdx.json
USER headlines
CMD ["retraining", "--help"]
