#!/bin/sh
# First program of the guest that builds a root: formats the writable disk, unpacks the tar archive on the
# read-only disk into it and lets the packages configure themselves. Tells its steps on the console; the host
# reads them (popek/images/debian.py).

say() {
    echo "popek: $*"
}

fail() {
    say "failed $*"
    poweroff -f
}

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
exec </dev/null >/dev/console 2>&1
modprobe -a $(cat /modules) || fail "a kernel module cannot be loaded"
target= source= tries=0
until [ "$target" ] && [ "$source" ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || fail "the disks are not there"
    for disk in /sys/block/vd*; do
        read -r readonly 2>/dev/null <"$disk/ro" || continue
        if [ "$readonly" = 0 ]; then target=/dev/${disk##*/}; else source=/dev/${disk##*/}; fi
    done
    [ "$source" ] || sleep 0.01
done

say "formatting the disk"
/tools/mke2fs -q -F -t ext4 -L popek -m 1 -E assume_storage_prezeroed=1,lazy_itable_init=0,lazy_journal_init=0 \
    "$target" || fail "the disk cannot be formatted"
mount -t ext4 -o noatime,nobarrier,noauto_da_alloc,commit=600 $target /root || fail "the disk cannot be mounted"

say "unpacking packages"
tar -x --numeric-owner -f $source -C /root || fail "the packages cannot be unpacked"
mkdir -p /root/dev /root/proc /root/sys /root/run /root/tmp
for folder in dev proc sys; do mount --bind /$folder /root/$folder; done
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=755 run /root/run
mount -t tmpfs -o mode=1777 tmp /root/tmp

export PATH=/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C.UTF-8 HOME=/root
export TERM=dumb DPKG_MAINTSCRIPT_NAME=preinst DPKG_RUNNING_VERSION=1.22 DPKG_ROOT= DPKG_ADMINDIR=/var/lib/dpkg
hostname localhost
say "configuring packages"
info=/var/lib/dpkg/info
for package in $(cat /preinst); do
    DPKG_MAINTSCRIPT_PACKAGE=${package%:*} DPKG_MAINTSCRIPT_ARCH=riscv64 DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 \
        chroot /root "$info/$package.preinst" install || fail "$package does not let itself be installed"
done
unset DPKG_MAINTSCRIPT_NAME DPKG_RUNNING_VERSION DPKG_ROOT DPKG_ADMINDIR
chroot /root /usr/bin/dpkg --force-unsafe-io --configure -a || fail "the packages cannot be configured"
[ -z "$(chroot /root /usr/bin/dpkg --audit)" ] || fail "dpkg finds the root incomplete"

say "finishing"
rm -f /root/var/lib/dpkg/*-old /root/var/cache/debconf/*-old /root/var/log/*.log /root/etc/*-
rm -f /root/var/cache/ldconfig/*
: >/root/etc/machine-id
umount /root/tmp /root/run /root/dev /root/proc /root/sys
umount /root || fail "the disk cannot be unmounted"
say "done"
poweroff -f
