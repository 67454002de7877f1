# docker build -t presence-gateway .
# docker run --read-only --cap-drop ALL --tmpfs /tmp -p 8080:8080 \
#   -v ./config:/etc/presence-gateway:ro -v presence:/var/lib/presence-gateway --stop-timeout 30 presence-gateway
# The file config/gateway.toml then says listen = "0.0.0.0:8080" and behind_proxy = true, or names a certificate.

# Release builds name the base by its digest: --build-arg BASE=python@sha256:…
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY gateway gateway
RUN python -m venv /opt/presence-gateway \
 && /opt/presence-gateway/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[fast]'

FROM ${BASE}
RUN useradd --system --uid 10001 --home-dir /var/lib/presence-gateway --create-home presence
COPY --from=build /opt/presence-gateway /opt/presence-gateway
ENV PATH=/opt/presence-gateway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
VOLUME /var/lib/presence-gateway
EXPOSE 8080
# Where the gateway itself serves HTTPS: operations_listen = "127.0.0.1:8081", and that address here.
ENV HEALTH_URL=http://127.0.0.1:8080/livez
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["presence-gateway"]
CMD ["serve", "--config", "/etc/presence-gateway/gateway.toml"]
