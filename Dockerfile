# Portero in a container: one static binary, no shell, not root.
#
#   docker build -t portero .
#   docker run -p 3000:3000 -v portero:/var/lib/portero -v ./portero.yaml:/etc/portero/portero.yaml:ro portero
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY internal internal
COPY config.example.yaml ./
ARG VERSION=""
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.release=${VERSION}" -o /out/portero ./cmd/portero \
 && mkdir -p /out/data /out/etc

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/portero /portero
COPY --from=build --chown=65532:65532 /out/data /var/lib/portero
COPY --from=build /out/etc /etc/portero
USER 65532:65532
# In a container the listener is reached from outside, the session file lies on the volume, and a load balancer gets
# five seconds to notice that this replica is going.
ENV PORTERO_LISTEN=0.0.0.0:3000 \
    PORTERO_SESSION_FILE_PATH=/var/lib/portero/portero.db \
    PORTERO_SHUTDOWN_DELAY=5s
VOLUME /var/lib/portero
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/portero", "health"]
ENTRYPOINT ["/portero"]
CMD ["serve"]
