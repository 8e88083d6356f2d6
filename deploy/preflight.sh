#!/usr/bin/env bash
# Looks at what compose.yaml needs before anything starts: says all that is wrong at once, each with what to do, and
# exits with 78. Containers say most of it themselves; that an image is for another processor only the host can say.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# As compose reads them: the environment, then .env, where install.sh writes the version that it put here.
setting() {
  local value=${!1:-}
  [ -n "$value" ] || value=$(sed -n "s/^$1=//p" .env 2> /dev/null | tail -n 1)
  echo "${value:-$2}"
}

image=$(setting STRONGROOM_IMAGE strongroom:latest)
secrets=$(setting STRONGROOM_SECRETS deploy/secrets)
models=$(setting STRONGROOM_MODELS deploy/models)
owner=10001
names=(credentials.json ticket queue token log-signing audit-provider
  service-gateway service-guard service-inference service-audit service-monitor)
problems=0
wrong() { echo "✗ $1" >&2; problems=$((problems + 1)); }

check_docker() {
  command -v docker > /dev/null || { wrong "there is no docker here: install docker.io"; return 1; }
  docker version --format '{{.Server.Version}}' > /dev/null 2>&1 ||
    { wrong "no Docker daemon answers: start it (systemctl start docker), or join the group docker"; return 1; }
  command -v docker-compose > /dev/null || docker compose version > /dev/null 2>&1 ||
    wrong "there is no docker-compose here: install docker-compose, 1.28 or newer"
}

check_image() {
  local built host
  built=$(docker image inspect --format '{{.Architecture}}' "$image" 2> /dev/null) ||
    { wrong "there is no image $image: run make image, or the bundle's install.sh"; return; }
  host=$(docker version --format '{{.Server.Arch}}')
  [ "$built" = "$host" ] ||
    wrong "$image is for $built, and this machine's processor is $host: build it here (make image), or take the bundle for $host"
}

check_secrets() {
  local name path found
  for name in "${names[@]}"; do
    path=$secrets/$name
    if [ -d "$path" ]; then
      wrong "$path is a folder, which Docker made in the place of a secret: rmdir it, and run make secrets"
    elif ! found=$(stat -c '%u %a' "$path" 2> /dev/null); then
      wrong "$path is missing: run make secrets"
    elif [ "$found" != "$owner 600" ] && [ "$found" != "$owner 400" ]; then
      wrong "$path is of uid ${found% *} with mode ${found#* }: run chown $owner:$owner and chmod 600 on it"
    fi
  done
}

# A name without a slash is a volume, which only Docker can look into.
check_models() {
  case $models in */*) compgen -G "$models/*/config.json" > /dev/null ||
    wrong "no model lies in $models: run make models, or name its folder in STRONGROOM_MODELS" ;; esac
}

# What listens there may be this very stack.
check_ports() {
  local port
  docker ps --quiet --filter label=com.docker.compose.service=gateway | grep -q . && return
  for port in "$(setting STRONGROOM_PORT 7400)" "$(setting STRONGROOM_HTTP_PORT 7410)" "$(setting STRONGROOM_PAGE_PORT 7414)"; do
    ! (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null ||
      wrong "127.0.0.1:$port is taken: stop what listens there, or set STRONGROOM_PORT, STRONGROOM_HTTP_PORT or STRONGROOM_PAGE_PORT"
  done
}

if check_docker; then check_image; check_ports; fi
check_secrets
check_models
[ "$problems" = 0 ] || { echo "$problems to mend before docker-compose up" >&2; exit 78; }
