# The root file system that the Containerfile describes, its user, command and health check, as a container runtime
# would use them. What only a runtime can show, its isolation, is not checked.

context=$1
instruction() { sed -n "s/^$1 //p" "$context/Containerfile"; }
root=$scratch/root
mkdir "$root"
while read -r line; do
    read -ra words <<<"$line"
    for file in "${words[@]:0:${#words[@]}-1}"; do
        target=$root${words[-1]}
        if [ -d "$context/$file" ]; then mkdir -p "$target" && cp -r "$context/$file/." "$target"; else cp "$context/$file" "$target/"; fi
    done
done < <(instruction COPY)
user=$(instruction USER)
[[ $user =~ ^[1-9][0-9]*:[1-9][0-9]*$ ]] || fail "the user must be a number other than root: $user"
# ["/echo-server", "--host"] as words.
words() { tr -d '[],' | xargs -n 1; }
mapfile -t entrypoint < <(instruction ENTRYPOINT | words)
mapfile -t arguments < <(instruction CMD | words)
mapfile -t health < <(instruction HEALTHCHECK | sed 's/.*CMD //' | words)
export user
printf '%s\n' "${entrypoint[@]}" "${arguments[@]}" >"$scratch/command"
printf '%s\n' "${health[@]}" >"$scratch/health"

check() {
    mapfile -t command <"$scratch/command"
    mapfile -t health <"$scratch/health"
    if as_other "${health[@]}" >/dev/null 2>&1; then fail 'healthy without a server'; fi
    start "${command[@]}"
    as_other "${health[@]}" >"$scratch/healthy" || fail "not healthy: $(cat "$scratch/healthy")"
    echo "user $user, ${command[*]}; ${health[*]}: healthy"
    stop
    echo "$(du -sh --apparent-size "$root" | cut -f 1) in $(find "$root" -type f | wc -l) files"
}
in_namespace check
