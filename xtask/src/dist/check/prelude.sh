# What the checks that need a root of their own share.

skip() { echo "$1"; exit 77; }
fail() { echo "$1"; exit 1; }

[ "$(id -u)" = 0 ] || skip 'chroot and a network namespace need root'
unshare --net true 2>/dev/null || skip 'network namespaces are not permitted here'
command -v ip >/dev/null || skip 'ip (iproute2) is not installed'

scratch=$(mktemp -d)
chmod 755 "$scratch"
# Nothing may be mounted there when it is removed.
trap '! grep -qF " $scratch" /proc/mounts && rm -rf "$scratch"' EXIT

# in_namespace FUNCTION: runs it where only the loopback interface exists.
in_namespace() {
    local name
    for name in $(compgen -A function); do export -f "${name?}"; done
    export root scratch
    timeout 120 unshare --net bash -euo pipefail -c "ip link set lo up; $1"
}

# as_other COMMAND...: runs a program in $root, as a user that owns nothing.
as_other() { chroot --userspec="${user:-65534:65534}" "$root" "$@"; }

# start COMMAND...: starts a server in $root and waits until it listens.
start() {
    # Emptied before the server starts, not by it: what an earlier one printed is not its own.
    : >"$scratch/server"
    # exec, so that signals reach the server and not a shell around it.
    (exec chroot --userspec="${user:-65534:65534}" "$root" "$@") >"$scratch/server" 2>&1 &
    server=$!
    trap 'kill -KILL $server 2>/dev/null || true' EXIT
    for _ in {1..100}; do
        grep -q '^Listening on' "$scratch/server" && return
        kill -0 $server 2>/dev/null || break
        sleep 0.1
    done
    fail "it does not listen: $(cat "$scratch/server")"
}

# stop: sends SIGTERM, which must end it with 0.
stop() {
    kill -TERM $server
    wait $server || fail "it ended with $?: $(cat "$scratch/server")"
    trap - EXIT
}

# expect TEXT COMMAND...: the command must print exactly this.
expect() {
    local expected=$1 printed
    shift
    printed=$("$@" 2>&1) || fail "$* failed: $printed"
    [ "$printed" = "$expected" ] || fail "$* printed: $printed"
}
