# Popek's agent: process 1 of a guest. It takes line requests on the port popek.control and runs commands whose
# input and output are the other ports. Which lines there are: docs in popek/images/agent.py.
# Runs in busybox's ash: $busybox is a static busybox outside the guest's own files.

busybox=${1:-/bin/busybox}
here=${2:-/run/popek}
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LOGNAME=root SHELL=/bin/sh
export LANG=C.UTF-8
[ ! -x /bin/bash ] || SHELL=/bin/bash
unset TERM
environ= dir=/root pid=

# Ports are known by name; popek.control is the last to appear.
find_ports() {
    for port in /sys/class/virtio-ports/vport*; do
        name=
        read -r name 2>/dev/null <"$port/name"
        case $name in
        popek.stdin) stdin=/dev/${port##*/} ;;
        popek.stdout) stdout=/dev/${port##*/} ;;
        popek.stderr) stderr=/dev/${port##*/} ;;
        popek.control) control=/dev/${port##*/} ;;
        esac
    done
    [ -c "$control" ]
}

# Requests that cannot wait for a command to end are done here, beside it; the others are handed to process 1.
listen() {
    echo "ready 1" >&3
    while read -r verb rest; do
        case $verb in
        signal) signal "$rest" ;;
        poweroff) off ;;
        *) echo "$verb $rest" ;;
        esac
    done <&3 >&4
    off
}

signal() {
    pid=
    read -r pid 2>/dev/null <"$here/pid"
    case $pid in '' | 1) return ;; esac
    kill "-$1" "-$pid" 2>/dev/null || kill "-$1" "$pid" 2>/dev/null
}

off() {
    sync
    mount -o remount,ro / 2>/dev/null
    poweroff -f
}

# A command's output is complete when both pumps have seen its end. Whoever was left behind by the command and still
# holds it is ended: the command is over.
finish() {
    for pump in out err; do
        until read -r -t 0.3 _ <&9; do
            for process in /proc/[0-9]*; do
                for fd in "$process"/fd/1 "$process"/fd/2; do
                    [ "$fd" -ef "$here/out" ] || [ "$fd" -ef "$here/err" ] || continue
                    kill -KILL "${process##*/}" 2>/dev/null
                done
            done
        done
    done
}

run_pipe() {
    cat <&5 >"$here/in" &
    feeder=$!
    { cat <"$here/out" >&6; echo >&9; } &
    { cat <"$here/err" >&7; echo >&9; } &
    (exec setsid "$busybox" sh "$here/child" "$@" <"$here/in" >"$here/out" 2>"$here/err" 3>&- 4>&- 5>&- 6>&- 7>&- 9>&-)
    status=$?
    kill "$feeder" 2>/dev/null
    finish
}

run_tty() {
    (exec setsid -c "$busybox" sh "$here/child" "$@" <>/dev/hvc0 >&0 2>&0 3>&- 4>&- 5>&- 6>&- 7>&- 9>&-)
    status=$?
}

run() {
    mode=$1
    shift
    "run_$mode" "$@"
    echo "exit $status" >&3
}

mkdir -p "$here" /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /dev/shm
ln -sf /proc/self/fd /dev/fd
ln -sf fd/0 /dev/stdin
ln -sf fd/1 /dev/stdout
ln -sf fd/2 /dev/stderr
mkfifo "$here/in" "$here/out" "$here/err" "$here/requests" "$here/done"
exec 4<>"$here/requests" 9<>"$here/done"
until find_ports; do read -r -t 0.005 _ <&9; done
exec 3<>"$control" 5<"$stdin" 6>"$stdout" 7>"$stderr"
export environ dir here
listen &
while :; do
    read -r verb rest <&4
    case $verb in
    env) environ="$environ $rest" ;;
    dir) eval "dir=$rest" ;;
    time) date -s "@$rest" >/dev/null ;;
    run) eval "run $rest" ;;
    esac
done
