#!/usr/bin/env bash
# Builds the image that the application stands on: Debian with Python and Redis, by debootstrap, and no registry.
# Debian's mirror and suites are the ones of this machine's apt: updates and security come from there too.
set -euo pipefail

image=${1:?usage: deploy/base.sh IMAGE [PACKAGE…]}
# All times in the image, so that the same packages give the same bytes: 2026-01-01.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1767225600}
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
packages=(python3 redis-server "${@:2}")

die() { echo "base image: $1" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "debootstrap needs root: run it with sudo"
for tool in debootstrap docker apt-get; do
  command -v "$tool" > /dev/null || die "there is no $tool here: apt-get install debootstrap docker.io"
done
# shellcheck disable=SC1091
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
targets() { apt-get indextargets --format "$1" 'Created-By: Packages' 'Origin: Debian' | sort -u; }
mirror=$(targets '$(CODENAME) $(REPO_URI)' | awk -v name="$codename" '$1 == name { print $2; exit }')
[ -n "$mirror" ] || die "apt knows no Debian mirror with $codename: the base image is built on Debian, after apt-get update"

work=$(mktemp -d)
root=$work/root log=$work/log
trap 'rm -rf --one-file-system "$work"' EXIT
quietly() { "$@" >> "$log" 2>&1 || { tail -n 20 "$log" >&2; die "$1 failed; its last words stand above"; }; }
echo "base image: Debian $codename, $(dpkg --print-architecture)"
quietly debootstrap --variant=minbase "$codename" "$root" "$mirror"

in_root() { quietly chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive \
  SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" PYTHONHASHSEED=0 ${http_proxy:+http_proxy="$http_proxy"} "$@"; }

# What debootstrap took is the release as it once was; here come its updates. No service starts inside a folder.
targets 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' > "$root/etc/apt/sources.list"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' | install -m 755 /dev/stdin "$root/usr/sbin/policy-rc.d"
in_root apt-get -qq update
in_root apt-get -qq -y dist-upgrade
in_root apt-get -qq -y --no-install-recommends install "${packages[@]}"
in_root groupadd --gid 10001 strongroom
in_root useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin strongroom
# By hash: a .pyc that goes by its source's time would be stale, and a read-only container would compile at every start.
in_root find /usr/lib/python3.11 -name '*.pyc' -delete
in_root python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3.11 /usr/lib/python3
install -d -m 755 "$root/app"
install -d -m 700 -o 10001 -g 10001 "$root/data"
install -d -m 755 -o 10001 -g 10001 "$root/models"

# What a container never reads, what differs from run to run, and what names this machine. Licences stay.
find "$root/usr/share/doc" ! -type d ! -name copyright -delete
find "$root/usr/share/doc" -type d -empty -delete
rm -rf "$root"/usr/share/{man,info,locale,lintian,bug}/* "$root"/var/{cache,log,tmp}/* "$root"/tmp/* "$root"/var/lib/apt/lists/* \
  "$root"/var/lib/dpkg/*-old "$root"/etc/{passwd,group,shadow,gshadow}- "$root"/etc/apt/sources.list \
  "$root"/etc/{resolv.conf,hostname,machine-id} "$root"/usr/sbin/policy-rc.d

made=$(tar --create --directory "$root" --one-file-system --numeric-owner --sort=name --format=gnu \
  --mtime="@$SOURCE_DATE_EPOCH" . | docker import --change 'CMD ["bash"]' -)
# An image's id has the time of its making in it: the one that is there stays if it is the same, and so do those on it.
layers() { docker image inspect --format '{{.RootFS.Layers}}' "$1" 2> /dev/null; }
if [ "$(layers "$made")" = "$(layers "$image")" ]; then
  docker rmi "$made" > /dev/null
  echo "base image: $image is what Debian has today"
else
  docker tag "$made" "$image"
  echo "base image: made $image, $(docker image inspect --format '{{.Size}}' "$image" | awk '{ printf "%.0f MB", $1 / 1e6 }')"
fi
