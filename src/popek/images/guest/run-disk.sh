#!/bin/sh
# First program of a guest whose root is the disk with the serial number popek-root: load drivers, mount the disk, hand over to the agent.

fail() {
    echo "popek: $*" >/dev/console
    poweroff -f
}

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
modprobe -a $(cat /modules) || fail "a kernel module cannot be loaded"
disk= tries=0
until [ "$disk" ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || fail "there is no disk"
    for entry in /sys/block/vd*; do
        read -r serial 2>/dev/null <"$entry/serial"
        [ "$serial" = popek-root ] && disk=/dev/${entry##*/}
    done
    [ "$disk" ] || sleep 0.01
done
mount -t ext4 -o noatime $disk /root || fail "the disk cannot be mounted"
mount -t tmpfs -o nosuid,nodev,mode=755 run /root/run
mkdir /root/run/popek
cp /bin/busybox /agent /child /root/run/popek/
for folder in dev proc sys; do mount --move /$folder /root/$folder; done
[ "$(hostname)" != "(none)" ] || hostname debian # `popek run --name` gives the kernel another
exec /bin/busybox switch_root /root /run/popek/busybox sh /run/popek/agent /run/popek/busybox /run/popek
