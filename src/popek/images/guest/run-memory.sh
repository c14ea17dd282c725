#!/bin/sh
# First program of a guest that lives in its initramfs: load drivers, hand over to the agent.

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o nosuid,nodev,mode=1777 tmp /tmp
modprobe -a $(cat /modules)
[ "$(hostname)" != "(none)" ] || hostname busybox # `popek run --name` gives the kernel another
mkdir -p /run/popek
mv /agent /child /run/popek/
exec /bin/busybox sh /run/popek/agent /bin/busybox /run/popek
