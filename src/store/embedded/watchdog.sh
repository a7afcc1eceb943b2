# Arguments: the cluster, its socket directory, and optionally a directory to remove afterwards.
trap '' HUP INT TERM
read -r _

pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null)
# The number may be a stranger's by now; where /proc exists it tells.
if [ -n "$pid" ] && [ "$pid" -gt 1 ] \
    && { [ ! -e /proc/self/cwd ] || [ "$(readlink "/proc/$pid/cwd")" = "$1" ]; }; then
    kill -QUIT "$pid"
    tries=0
    while [ "$tries" -lt 100 ] && kill -0 "$pid" 2>/dev/null; do
        sleep 0.1
        tries=$((tries + 1))
    done
fi

if [ -n "$3" ]; then
    rm -rf -- "$3"
fi
rmdir -- "$2" 2>/dev/null
