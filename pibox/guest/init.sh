#!/bin/busybox sh
# The box's first program, in place of Debian's initrd, which takes an emulated machine a quarter of a minute to unpack.
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod $module; done
/bin/busybox mount -t ext4 -o ro,noatime /dev/vda /root
exec /bin/busybox switch_root /root /sbin/init
