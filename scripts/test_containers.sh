#!/bin/sh
# Builds both images and runs docker-compose.yaml's services in them, without a container engine: docs/containers.md.
#   scripts/test_containers.sh <arguments of pytest>   as root; some 20 minutes, 25 GB below TMPDIR (default /var/tmp), all of it
#                                                     removed in every case
# Python's, Postgres' and Redis' images cannot be had without a registry. Debian's packages stand in for them, in images of their names.
set -eu
CDPATH= cd -- "$(dirname -- "$0")/.."
umask 022

say() { printf 'test-containers: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

if [ "${1:-}" != inside ]; then
    [ "$(id -u)" = 0 ] || fail 'run it as root: it mounts, and makes networks'
    for command in buildah debootstrap ip unshare nsenter; do
        command -v "$command" >/dev/null ||
            fail "$command is not here; on Debian: apt-get install buildah debootstrap iproute2 util-linux"
    done
    place=$(mktemp -d "${TMPDIR:-/var/tmp}/test-containers.XXXXXX") worker=''
    # What ran inside ends a moment after its namespace, and may write until then.
    trap 'kill -KILL $worker 2>/dev/null || :; wait; rm -rf --one-file-system "$place" 2>/dev/null ||
        { sleep 2; rm -rf --one-file-system "$place"; }' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # Mounts and processes in namespaces of their own end with them, whatever happens.
    unshare --mount --pid --fork --kill-child --propagation private --mount-proc "$0" inside "$place" "$@" &
    worker=$!
    wait "$worker" && status=0 || status=$?
    worker=''
    exit "$status"
fi

place=$2
shift 2
# What buildah and this test leave in /run goes with the mount.
resolver=$(cat /etc/resolv.conf)
mount -t tmpfs tmpfs /run
[ -e /etc/resolv.conf ] || { mkdir -p "$(dirname "$(readlink -m /etc/resolv.conf)")" && printf '%s\n' "$resolver" >/etc/resolv.conf; }
mkdir "$place/tmp" "$place/root"
export TMPDIR="$place/tmp"
buildah() { command buildah --root "$place/storage" --runroot /run/storage --storage-driver vfs "$@"; }

# The machine's way to the package index, for the builds alone: mounts, of which nothing gets into an image.
ways=''
offer() { [ ! -s "$1" ] || ways="$ways --volume $1:$2:ro"; }
offer "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" /etc/ssl/certs/ca-certificates.crt
index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-}}
{
    [ ! -f /etc/uv/uv.toml ] || cat /etc/uv/uv.toml
    [ -z "$index" ] || printf 'index-url = "%s"\n' "$index"
    grep -qs '^system-certs' /etc/uv/uv.toml || echo 'system-certs = true'
} >"$place/uv.toml"
{ [ ! -f /etc/pip.conf ] || cat /etc/pip.conf; } >"$place/pip.conf"
[ -z "$index" ] || [ -s "$place/pip.conf" ] || printf '[global]\nindex-url = %s\n' "$index" >"$place/pip.conf"
offer "$place/uv.toml" /etc/uv/uv.toml
offer "$place/pip.conf" /etc/pip.conf

mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    sed -n 's/^bookworm main //p' | head -n 1)
# <image> <packages, separated by commas>: an image of Debian 12 with them, on top of nothing. $root is its folder.
make_base() {
    image=$1 root=$place/root/$(echo "$1" | tr -c 'a-z0-9\n' -)
    say "$image: Debian 12 with $2"
    debootstrap --variant=minbase --include="$2" bookworm "$root" $mirror >"$place/log" 2>&1 ||
        { tail -n 20 "$place/log" >&2; fail 'debootstrap failed'; }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
}
# <options of buildah config>: makes the image of $root.
keep_base() {
    container=$(buildah from scratch)
    # From an archive, since what is added from a folder is all root's.
    tar --create --file "$place/base.tar" --directory "$root" --numeric-owner --xattrs .
    buildah add --quiet "$container" "$place/base.tar" / >/dev/null
    buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$@" "$container"
    buildah commit --quiet --rm "$container" "docker.io/library/$image" >/dev/null
    rm -rf "$root" "$place/base.tar"
}

# As in the image that it stands for, `python` and `pip` are in /usr/local/bin, and the standard library has no bytecode.
make_base python:3.11-slim-bookworm python3.11,python3-pip,ca-certificates
ln -s /usr/bin/python3.11 "$root/usr/local/bin/python"
ln -s /usr/bin/pip "$root/usr/local/bin/pip"
rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
find "$root/usr/lib/python3.11" -name __pycache__ -prune -exec rm -rf {} +
keep_base --cmd python3

# The users' numbers, folders, entry points and signals are those of docker-library's Dockerfiles; the programs are Debian's.
make_base postgres:16 postgresql,postgresql-contrib
chroot "$root" sh -c 'rm -rf /var/lib/postgresql/* /var/run/postgresql && usermod --uid 999 postgres && groupmod --gid 999 postgres &&
    install -d -o postgres -g postgres -m 1777 /var/lib/postgresql /var/lib/postgresql/data &&
    install -d -o postgres -g postgres -m 3777 /var/run/postgresql' 2>"$place/log" || { cat "$place/log" >&2; fail 'postgres:16 failed'; }
cat >"$root/usr/local/bin/docker-entrypoint.sh" <<'END'
#!/bin/sh
# What docker-library/postgres' script of this name does where there is a password and nothing else.
set -eu
export PATH="$PATH:$(echo /usr/lib/postgresql/*/bin)"
chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username postgres --pwfile /tmp/password --auth-local trust --auth-host trust
    rm /tmp/password
    printf 'host all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
fi
exec "$@"
END
chmod 755 "$root/usr/local/bin/docker-entrypoint.sh"
keep_base --entrypoint '["docker-entrypoint.sh"]' --cmd 'postgres -c listen_addresses=*' --env PGDATA=/var/lib/postgresql/data --env LANG=C.UTF-8 \
    --stop-signal SIGINT

make_base redis:7.2 redis-server
chroot "$root" sh -c 'usermod --uid 999 redis && groupmod --gid 999 redis && install -d -o redis -g redis /data' 2>"$place/log" ||
    { cat "$place/log" >&2; fail 'redis:7.2 failed'; }
keep_base --cmd redis-server --workingdir /data

# <image> <Dockerfile>
build() {
    say "building $1"
    buildah bud --isolation chroot --pull-never --format docker $ways --ignorefile .dockerignore --file "$2" --tag "$1" . \
        >"$place/log" 2>&1 || { tail -n 40 "$place/log" >&2; fail "$1 could not be built"; }
}
build headline-retraining:latest Dockerfile
build headline-serving:latest serving/Dockerfile
buildah images --format '{{.Name}}:{{.Tag}} {{.Size}}'

say 'running them, without a network but their own'
export CONTAINERS_PLACE="$place"
unshare --net sh -euc 'ip link set lo up; mkdir -p /run/netns; exec "$@"' sh \
    .venv/bin/python -m pytest -p no:cacheprovider --basetemp "$place/pytest" "$@"
