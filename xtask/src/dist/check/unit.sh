# What systemd itself says about the unit. It is not started: there is no systemd in a chroot.

command -v systemd-analyze >/dev/null || { echo 'systemd-analyze is not installed'; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$1" "${1%.service}.socket" "$folder"
# verify looks for the program, which need not be installed here.
sed -i "s|^ExecStart=/usr/local/bin/echo-server|ExecStart=$(command -v true)|" "$folder/echo-server.service"
said=$(systemd-analyze verify --man=no "$folder/echo-server.service" "$folder/echo-server.socket" 2>&1) || { echo "$said"; exit 1; }
[ -z "$said" ] || { echo "$said"; exit 1; }
systemd-analyze security --offline=true "$folder/echo-server.service" | tail -n 1
