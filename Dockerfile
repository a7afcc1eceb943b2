# Not the slim one, which has no `make` for the allocator: building fetches crates and nothing else.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# The caches are not part of the image, so what it needs is copied out of them in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --workspace --bins \
    && mkdir /out \
    && cp target/release/simbridge target/release/simulator /out/

FROM debian:bookworm-slim
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="simbridge" \
      org.opencontainers.image.description="MQTT-to-PostgreSQL ingestion bridge for SIM usage: a PUBACK means COMMIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"

RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/simbridge --create-home \
    --shell /usr/sbin/nologin simbridge
# TLS to the database trusts these.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /usr/local/bin/
COPY config/simbridge.toml LICENSE /usr/share/doc/simbridge/

# The image holds no PostgreSQL: set DATABASE_URL, or SIMBRIDGE__DATABASE__URL_FILE to a file that holds it.
ENV SIMBRIDGE__MQTT__LISTEN=0.0.0.0:1883 \
    SIMBRIDGE__HTTP__LISTEN=0.0.0.0:8080 \
    SIMBRIDGE__LOG__FORMAT=json

# By number, so that an orchestrator sees that it is not root.
USER 10001:10001
WORKDIR /var/lib/simbridge
EXPOSE 1883 8080
# SIGTERM commits and acknowledges what was received; give it more than shutdown.grace_ms (10 s).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=6s --start-period=30s --retries=3 CMD ["simbridge", "health"]
ENTRYPOINT ["simbridge"]
CMD ["serve"]
