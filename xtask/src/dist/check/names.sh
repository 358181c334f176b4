# Names in a root that has /etc/hosts and /etc/resolv.conf, as container runtimes make them, and nothing else. The
# name server here knows one name.

command -v python3 >/dev/null || skip 'the name server needs python3'
root=$scratch/root
mkdir -p "$root/etc"
tar -xzf "$1" -C "$root" --strip-components=1 --wildcards '*/echo-server' '*/echo-client'
printf '127.0.0.1 localhost\n127.0.0.2 of-hosts\n' >"$root/etc/hosts"
echo 'nameserver 127.0.0.54' >"$root/etc/resolv.conf"
# musl has no name service modules: this line changes nothing.
echo 'hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns' >"$root/etc/nsswitch.conf"

check() {
    python3 -c '
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.54", 53))
print("ready", flush=True)
while True:
    query, peer = server.recvfrom(512)
    end = query.index(0, 12) + 1
    known = query[12:end] == b"\x06of-dns\x04test\x00"
    wanted = query[end:end + 2] == b"\x00\x01"  # an IPv4 address
    answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x03" if known and wanted else b""
    code = b"\x81\x80" if known else b"\x81\x83"
    server.sendto(query[:2] + code + b"\0\1" + bytes([0, 1 if answer else 0]) + bytes(4) + query[12:end + 4] + answer, peer)
' >"$scratch/dns" &
    dns=$!
    until grep -q ready "$scratch/dns"; do kill -0 $dns; sleep 0.1; done
    start /echo-server --host ''
    trap 'kill -KILL $server $dns 2>/dev/null || true' EXIT
    for name in localhost of-hosts of-dns.test; do
        expect "Received b'Hello, world'" as_other /echo-client --host $name
    done
    if as_other /echo-client --host unknown.test 2>"$scratch/unknown"; then fail 'unknown.test is known'; fi
    grep -q 'cannot find the address of "unknown.test"' "$scratch/unknown" || fail "$(cat "$scratch/unknown")"
    echo "connected: $(grep -c '^Connected by' "$scratch/server") times"
    stop
    kill $dns
}
in_namespace check
