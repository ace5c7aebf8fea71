# syntax=docker/dockerfile:1
# One image for all of it: `serve` (the default), `worker`, `migrate` and the other commands.

FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
RUN pip install 'uv>=0.9,<1'
WORKDIR /app
# The dependencies first: this layer lasts until uv.lock changes.
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-dev --extra otel --no-install-project
COPY README.md LICENSE ./
COPY persona_apply ./persona_apply
COPY jobs ./jobs
COPY relay ./relay
RUN uv sync --locked --no-dev --extra otel --no-editable

FROM python:3.13-slim-bookworm
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The journal's directory belongs to the user, so a volume mounted there does too.
RUN useradd --system --uid 10001 --home-dir /var/lib/persona-relay --create-home persona-relay \
    && install -d -o persona-relay /var/lib/persona-relay/journal
COPY --from=build /app/.venv /app/.venv
USER persona-relay
WORKDIR /var/lib/persona-relay
ENV RELAY_JOURNAL_DIR=/var/lib/persona-relay/journal
EXPOSE 8000
# Asks the relay; a container that runs another command turns it off.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["persona-relay"]
CMD ["serve", "--host", "0.0.0.0"]
