#!/bin/sh
# Checks an archive of `make bundle` and loads it: on a machine without a network, with what a bare Debian has, and Docker.
# Nothing is loaded or put in place before all of it has been checked.
set -eu
export LC_ALL=C
umask 022

usage() {
  cat << 'END'
usage: sh install.sh ARCHIVE (--key FILE | --fingerprint SHA256) [--into FOLDER] [--check]

  --key FILE            the release's public key, which came by another way than the archive
  --fingerprint SHA256  that key's fingerprint, if that is what you were told
  --into FOLDER         where compose file, model and documents go; strongroom, unless set
  --check               check the archive and change nothing
END
}
die() { echo "install: $1" >&2; exit "${2:-1}"; }
fingerprint() { openssl pkey -pubin -in "$1" -outform DER 2> /dev/null | sha256sum | cut -d' ' -f1; }
stated() { sed -n "s/^$1 //p" "$tree/MANIFEST"; }

archive='' key='' pinned='' into=strongroom check=''
while [ $# -gt 0 ]; do
  case $1 in
    --key | --fingerprint | --into)
      [ $# -gt 1 ] || die "$1 needs a value (sh install.sh --help)" 2
      case $1 in --key) key=$2 ;; --fingerprint) pinned=$2 ;; --into) into=$2 ;; esac
      shift ;;
    --check) check=yes ;;
    --help | -h) usage; exit 0 ;;
    -*) die "no option $1 (sh install.sh --help)" 2 ;;
    *) [ -z "$archive" ] || die "one archive at a time, not also $1" 2; archive=$1 ;;
  esac
  shift
done
[ -n "$archive" ] || { usage >&2; exit 2; }
[ -f "$archive" ] || die "there is no file $archive" 2
[ -z "$key" ] || [ -f "$key" ] || die "there is no file $key (--key)" 2

for tool in tar gzip sha256sum openssl; do
  command -v "$tool" > /dev/null || die "there is no $tool here: install it from the system's own medium"
done
case $(openssl version) in
  'OpenSSL '[3-9]*) ;;
  *) die "$(openssl version) cannot check an Ed25519 signature of a file: it needs OpenSSL 3, as in Debian 12" ;;
esac
again="copy it once more from where it was made"

# Unpacked beside its destination: there is the room that is needed, and a rename puts a file in place.
mkdir -p "$into"
work=$(mktemp -d "$into/.incoming-XXXXXX")
trap 'rm -rf "$work"; rmdir "$into" 2> /dev/null || true' EXIT
trap 'exit 129' HUP INT TERM
needed=$(($(wc -c < "$archive") * 3 / 1024))
free=$(df -Pk "$into" | awk 'NR == 2 { print $4 }')
[ "$free" -gt "$needed" ] || die "$into has $((free / 1024)) MB free and needs $((needed / 1024)) MB: name another place with --into"

name=$(tar -tf "$archive" 2> /dev/null | head -n 1 | cut -d/ -f1) || true
case $name in
  strongroom-*) ;;
  *) die "$archive is not an archive of make bundle, or its beginning is damaged: $again" ;;
esac
tree=$work/$name
unpack() { tar --no-same-owner -xf "$archive" -C "$work" --occurrence=1 "$@" 2> /dev/null; }
unpack "$name/MANIFEST" "$name/SHA256SUMS" "$name/SHA256SUMS.sig" "$name/release.pub" \
  || die "$archive ends too early or is damaged: $again"

# Who made it. A key from the archive proves nothing by itself, so it counts only if its fingerprint was told.
found=$(fingerprint "$tree/release.pub")
if [ -n "$key" ]; then
  cp "$key" "$tree/release.pub"
  pinned=$(fingerprint "$key")
elif [ -z "$pinned" ]; then
  die "the archive names a key with the fingerprint
  $found
If that is the one that you were told by another way, add: --fingerprint $found" 3
fi
[ "$(fingerprint "$tree/release.pub")" = "$(printf %s "$pinned" | tr 'A-F' 'a-f' | tr -d ':')" ] \
  || die "the archive is signed by another key than the pinned one: its key has the fingerprint $found. Do not install it; ask whoever gave it to you" 3
openssl pkeyutl -verify -rawin -pubin -inkey "$tree/release.pub" -in "$tree/SHA256SUMS" -sigfile "$tree/SHA256SUMS.sig" \
  > /dev/null 2>&1 || die "the signature does not fit the pinned key: the archive was altered, or signed by another key ($found). Do not install it" 3
(cd "$tree" && grep '  MANIFEST$' SHA256SUMS | sha256sum --check --status) \
  || die "MANIFEST is not what was signed; it was damaged on its way, or altered: $again"
[ "$(stated format)" = 1 ] || die "the archive has format $(stated format), which this install.sh does not know: take the one that came with it"

# Whether it can run here at all, asked before the large part is unpacked.
command -v docker > /dev/null || die "there is no docker here: install docker.io and docker-compose from the system's own medium"
server=$(docker version --format '{{.Server.Arch}}' 2> /dev/null) \
  || die "Docker does not answer: start it (systemctl start docker), and run this as a user who may use it"
[ "$(stated architecture)" = "$server" ] \
  || die "the archive is for $(stated architecture) and this machine's Docker runs $server: take strongroom-$(stated version)-$server.tar, which make bundle writes on such a machine"

echo "install: signed by $pinned; checking every file of version $(stated version)"
# By their signed names, and so nothing else; what else the archive holds is a sign of somebody at work in it.
signed=$(cut -c 67- "$tree/SHA256SUMS")
# shellcheck disable=SC2046,SC2086
unpack $(printf "$name/%s\n" $signed) || die "$archive ends too early or is damaged: $again"
(cd "$tree" && sha256sum --check --quiet SHA256SUMS > ../said 2>&1) \
  || die "$(grep FAILED "$work/said" | tr '\n' ' ')- this is not what was signed; it was damaged on its way, or altered: $again"
# shellcheck disable=SC2086
unsigned=$(tar -tf "$archive" | grep -vxF "$(printf "$name/%s\n" SHA256SUMS SHA256SUMS.sig release.pub $signed)" | tr '\n' ' ')
[ -z "$unsigned" ] || die "the archive holds what nobody signed: $unsigned- do not install it" 3
if [ -n "$check" ]; then
  echo "install: all of it is as it was signed; nothing was changed"
  exit 0
fi

docker load --quiet --input "$tree/images.tar.gz" || die "Docker could not load the images (its last words stand above)"
mkdir "$work/put"
tar --no-same-owner -xzf "$tree/files.tar.gz" -C "$work/put"
mkdir -p "$work/put/deploy/models"
tar --no-same-owner -xzf "$tree/models.tar.gz" -C "$work/put/deploy/models"
cp "$tree/MANIFEST" "$tree/wheels.sha256" "$work/put/"
# What an earlier version put there is replaced; secrets, settings and volumes are in no archive, and stay.
model=$(stated model)
mkdir -p "$into/deploy/models"
rm -rf "$into/deploy/models/${model:?}"
mv "$work/put/deploy/models/$model" "$into/deploy/models/"
cp -R "$work/put/." "$into/"
touch "$into/.env"
sed -i '/^STRONGROOM_IMAGE=/d' "$into/.env"
echo "STRONGROOM_IMAGE=strongroom:$(stated version)" >> "$into/.env"

echo "install: version $(stated version) lies in $into; its images are loaded"
cat << END
next:
  cd $into
  docker run --rm --network none --user 0:0 --volume "\$PWD/deploy/secrets:/secrets" strongroom:$(stated version) \\
    strongroom keys /secrets --owner 10001:10001
  deploy/preflight.sh && docker-compose up -d && deploy/until_ready.sh
END
