# The package in a Debian that debootstrap has just made: installed, used, removed. What needs a running systemd, that
# is the sandbox of the unit and its start, is not checked.

package=$1
command -v debootstrap >/dev/null || skip 'debootstrap is not installed'
root=$scratch/root
export LC_ALL=C.UTF-8
debootstrap --variant=minbase --include=man-db,systemd bookworm "$root" >"$scratch/debootstrap" 2>&1 ||
    skip "debootstrap failed: $(tail -n 1 "$scratch/debootstrap")"
run() { chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }
# All files but /run, and what dpkg, apt and man-db note down about any package.
files() {
    (cd "$root" && find . -path ./proc -prune -o -path ./sys -prune -o -print | grep -vE '^./(run|var/(lib/dpkg|cache/man|cache/ldconfig|log))(/|$)' | sort)
}
echo "Debian $(cat "$root/etc/debian_version")"

files >"$scratch/before"
cp "$package" "$root/echo-pair.deb"
started=$(date +%s%N)
run dpkg --install /echo-pair.deb >"$scratch/install" 2>&1 || fail "$(cat "$scratch/install")"
took=$((($(date +%s%N) - started) / 1000000))
rm "$root/echo-pair.deb"
run dpkg --verify echo-pair || fail 'what is installed differs from the package'
[ -z "$(run dpkg-query --show --showformat='${Depends}' echo-pair)" ] || fail 'static programs depend on nothing'
run dpkg --listfiles echo-pair >"$scratch/files"
while read -r file; do
    [ "$(stat -c %u:%g "$root$file")" = 0:0 ] || fail "$file is not root's"
    [ -d "$root$file" ] || [ -z "$(find "$root$file" -perm /022)" ] || fail "others may write $file"
done <"$scratch/files"
echo "installed in $took ms: $(run dpkg-query --show --showformat='${Package} ${Version}, ${Installed-Size} KiB' echo-pair)"
if command -v lintian >/dev/null; then
    # Unstripped: names of functions are wanted, for profilers. No prerequisites: that is what static means.
    # systemctl: debhelper's own scripts would do the same. No bugs closed: it is not an upload to Debian.
    known=unstripped-binary-or-object,shared-library-lacks-prerequisites
    known+=,maintainer-script-calls-systemctl,initial-upload-closes-no-bugs
    lintian --allow-root --suppress-tags "$known" --fail-on error "$package" >"$scratch/lintian" 2>&1 || fail "$(cat "$scratch/lintian")"
    echo "lintian: $(grep -c '^W' "$scratch/lintian" || true) warnings"
    grep '^[EW]' "$scratch/lintian" || true
else
    echo 'SKIPPED lintian: not installed'
fi

for page in echo-server echo-client; do
    run env MANWIDTH=80 man $page >"$scratch/page" 2>"$scratch/warnings" || fail "$(cat "$scratch/warnings")"
    grep -q '^EXIT STATUS' "$scratch/page" || fail "man $page shows: $(head "$scratch/page")"
    [ ! -s "$scratch/warnings" ] || fail "$(cat "$scratch/warnings")"
done
run man -k echo-server | grep -q 'TCP echo server' || echo 'SKIPPED man -k: its index is not made in a chroot'
echo "man pages: $(wc -l <"$scratch/page") lines for echo-client"

run systemd-analyze verify --man=no /usr/lib/systemd/system/echo-server.service >"$scratch/verify" 2>&1 ||
    fail "$(cat "$scratch/verify")"
sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/echo-server.service" >"$scratch/command"
check() {
    read -ra command <"$scratch/command"
    start "${command[@]}"
    expect "Received b'Hello, world'" as_other echo-client
    expect "Received b'Hello, world'" as_other echo-client --host localhost
    stop
    echo "as nobody: ${command[*]}; echo-client: Received b'Hello, world'"
}
in_namespace check

# What an administrator would have done goes too.
run systemctl enable --quiet echo-server.service echo-server.socket
[ "$(find "$root/etc/systemd" -name 'echo-server*' | wc -l)" = 2 ] || fail 'it was not enabled'
run dpkg --remove echo-pair >"$scratch/remove" 2>&1 || fail "$(cat "$scratch/remove")"
files >"$scratch/after"
diff "$scratch/before" "$scratch/after" || fail 'the removal changed files'
# dpkg keeps a removed package's postrm until it is purged.
run dpkg --purge echo-pair >"$scratch/purge" 2>&1 || fail "$(cat "$scratch/purge")"
if run dpkg --status echo-pair >/dev/null 2>&1; then fail 'dpkg still knows it'; fi
echo "removed: none of $(wc -l <"$scratch/files") paths is left, nor a link of systemd"
