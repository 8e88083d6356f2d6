#!/usr/bin/env bash
# Waits until the gateway of the stack in containers takes work and a worker serves a model; then says where it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
http=127.0.0.1:${STRONGROOM_HTTP_PORT:-7410}
key=$(cat "${STRONGROOM_SECRETS:-deploy/secrets}/development-api-key")
for _ in $(seq 300); do
  if curl --silent --fail --max-time 2 -H @- "http://$http/v1/models" <<< "authorization: Bearer $key" | grep -q '"id"'; then
    echo "ready: gRPC on 127.0.0.1:${STRONGROOM_PORT:-7400}, HTTP on http://$http, page on http://127.0.0.1:${STRONGROOM_PAGE_PORT:-7414}"
    exit 0
  fi
  sleep 1
done
echo "not ready after five minutes: docker-compose ps, docker-compose logs" >&2
exit 1
