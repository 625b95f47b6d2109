# syntax=docker/dockerfile:1

# For a build that stays the same, give the digest too: --build-arg PYTHON=python:3.13-slim-trixie@sha256:...
ARG PYTHON=python:3.13-slim-trixie

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
# What others wrote changes seldom: it has a layer of its own, and nothing in it that isn't in the lock file.
COPY requirements/run.txt requirements/build.txt requirements/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: --requirement requirements/build.txt \
    && python -m venv --without-pip /opt/rollbook \
    && /opt/build/bin/pip --python /opt/rollbook/bin/python install \
        --require-hashes --only-binary :all: --requirement requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/rollbook/bin/python install --no-deps --no-index /wheels/*.whl

FROM ${PYTHON}
# `make image` gives these.
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Rollbook" \
    org.opencontainers.image.description="Turns spreadsheets of members into checked rows in PostgreSQL" \
    org.opencontainers.image.licenses="Apache-2.0 AND MIT AND OFL-1.1" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}"
RUN groupadd --system --gid 10001 rollbook \
    && useradd --system --uid 10001 --gid rollbook --no-create-home --home-dir /var/lib/rollbook --shell /usr/sbin/nologin rollbook \
    && install --directory --owner rollbook --group rollbook --mode 0700 /var/lib/rollbook /incoming
COPY --from=build /opt/rollbook /opt/rollbook
ENV PATH=/opt/rollbook/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    ROLLBOOK_DATA_DIR=/var/lib/rollbook \
    ROLLBOOK_HOST=0.0.0.0 \
    ROLLBOOK_PORT=8000
# What is written to: this (local copies of files under way), /tmp, and a watched folder such as /incoming.
WORKDIR /var/lib/rollbook
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# For `serve`; whoever runs another command gives its own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['ROLLBOOK_PORT']}/healthz\", timeout=4)"]
ENTRYPOINT ["rollbook"]
CMD ["serve"]
