#!/bin/sh
# What a user sees on a fresh machine: Debian 12 as debootstrap makes it, with the packages that README names and no
# compiler, in a chroot. In it a new user and root, each in a home of mode 700, clone this checkout and run the demo.
#   scripts/test_fresh.sh          as root; some minutes and 9 GB below TMPDIR (default /var/tmp), removed in every case
#   scripts/test_fresh.sh short    the same, but root only starts and stops the service, and the quick tests are left out
set -eu
CDPATH= cd -- "$(dirname -- "$0")/.."
umask 022

say() { printf 'test-fresh: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

case ${1:-} in '' | short | inside) ;; *) fail "unknown: $1; use short, or nothing" ;; esac
if [ "${1:-}" != inside ]; then
    [ "$(id -u)" = 0 ] || fail 'run it as root: it mounts, and enters a chroot'
    command -v debootstrap >/dev/null || fail 'debootstrap is not here; on Debian: apt-get install debootstrap'
    [ -z "$(git status --porcelain)" ] || say 'what is not committed is not tested'
    place=$(mktemp -d "${TMPDIR:-/var/tmp}/test-fresh.XXXXXX") worker=''
    # What ran inside ends a moment after its namespace, and may write until then.
    trap 'kill -KILL $worker 2>/dev/null || :; wait; rm -rf --one-file-system "$place" 2>/dev/null ||
        { sleep 2; rm -rf --one-file-system "$place"; }' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # Mounts and processes in namespaces of their own end with them, whatever happens.
    unshare --mount --pid --fork --kill-child --propagation private "$0" inside "$place" "${1:-}" &
    worker=$!
    wait "$worker" && status=0 || status=$?
    worker=''
    exit "$status"
fi

root=$2/root log=$2/log form=$3
# Of the surroundings only what leads to the package indexes; no folder of wheels that were built here, no cache.
for name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
    case $name in
        PATH | TERM | LANG) ;;
        *_FIND_LINKS | *_CACHE_DIR | UV_PYTHON*) unset "$name" ;;
        PIP_* | UV_* | SSL_CERT_* | REQUESTS_CA_BUNDLE | CURL_CA_BUNDLE | *_proxy | *_PROXY) ;;
        *) unset "$name" ;;
    esac
done
mkdir "$root"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

packages=$(sed -n 's/^sudo apt-get install //p' README.md)
[ -n "$packages" ] || fail 'README names no packages in a line that begins with sudo apt-get install'
mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    sed -n 's/^bookworm main //p' | head -n 1)
say "Debian 12 with $packages"
debootstrap --variant=minbase --include="$(echo "$packages" | tr -s ' ' ,)" bookworm "$root" $mirror >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail 'debootstrap failed'; }
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/uv/uv.toml /etc/ssl/certs/ca-certificates.crt; do
    [ ! -e "$file" ] || install -D -m 644 "$file" "$root$file"
done
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --bind /dev "$root/dev"
# Beam's semaphores need one; a bind leaves that of the machine out.
mount -t tmpfs tmpfs "$root/dev/shm"
! chroot "$root" sh -c 'command -v cc c++ gcc g++' || fail 'a compiler is here; this is no fresh machine'

chroot "$root" useradd --create-home --key HOME_MODE=0700 --shell /bin/sh user
chmod 700 "$root/root"
# Both users install the same packages; what the first fetched, the second need not fetch.
install -d -o "$(stat -c %u "$root/home/user")" "$root/var/cache/uv"

enter() { # <user> <home> <command>
    chroot --userspec="$1" "$root" /usr/bin/env HOME="$2" USER="$1" UV_CACHE_DIR=/var/cache/uv sh -euc "cd ~/headlines; $3"
}
free_port='import socket; probe = socket.socket(); probe.bind(("127.0.0.1", 0)); print(probe.getsockname()[1])'
for user in user root; do
    home=$(chroot "$root" sh -c "echo ~$user")
    say "as $user in $home, of mode $(stat -c %a "$root$home")"
    git clone --quiet . "$root$home/headlines"
    chown -R --reference="$root$home" "$root$home/headlines"
    ports=''
    for name in POSTGRES_PORT WEBSERVER_PORT SUPERVISOR_PORT SERVING_PORT SERVING_GRPC_PORT; do
        ports="$ports $name=$(chroot "$root" python3 -c "$free_port")"
    done
    what='make demo NIGHTS=1'
    [ "$form$user" != shortroot ] || what='make up'
    enter "$user" "$home" "export $ports; $what; make down"
done
if [ "$form" != short ]; then
    say 'the quick tests'
    enter user /home/user 'make test-unit PYTEST_ARGS="-n 2"'
fi
say 'a fresh machine runs it, as a user and as root'
