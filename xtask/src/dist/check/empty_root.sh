# The programs of the archive in a root that has nothing else: no library, no /etc, no /proc, no /dev.

root=$scratch/root
mkdir "$root"
tar -xzf "$1" -C "$root" --strip-components=1 --wildcards '*/echo-server' '*/echo-client'
[ "$(find "$root" -type f -printf '%f ')" = 'echo-server echo-client ' ] ||
    [ "$(find "$root" -type f -printf '%f ')" = 'echo-client echo-server ' ] || fail "unexpected files: $(find "$root")"
chmod 555 "$root"

check() {
    for engine in auto uring readiness threads; do
        start /echo-server --host localhost --engine $engine --verbose
        expect "Received b'Hello, world'" as_other /echo-client --host localhost
        expect "Received b'Hello, world'" as_other /echo-client
        as_other /echo-client bench --connections 20 --messages 2000 --size 16k --fail-if 'loss>0' >/dev/null ||
            fail "bench failed with $engine"
        stop
        echo "$engine: $(sed -n 's/.*\(engine: .*\)/\1/p; s/.*\(stopped: .*\)/\1/p' "$scratch/server" | paste -sd ';')"
    done
}
in_namespace check
