#!/bin/sh
# The header's lines, before anything else of the machine runs: gpio-sim as a Pi's chip, and the kernel's record of each change.
set -eu
mkdir -p /run/pibox
{ cat /proc/cpuinfo; printf 'Revision\t: c03114\n'; } >/run/pibox/cpuinfo
mount --bind /run/pibox/cpuinfo /proc/cpuinfo
modprobe gpio-sim-box
mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
bank=/sys/kernel/config/gpio-sim/header/bank0
mkdir -p $bank
echo 54 >$bank/num_lines
echo pinctrl-bcm2711 >$bank/label
# Only what is driven: the kiosk reads its contacts 140 times a second.
echo 'get == 0' >/sys/kernel/tracing/events/gpio/gpio_value/filter
echo 'p:box/let_go gpio_sim_free offset=$arg2:x32' >>/sys/kernel/tracing/kprobe_events
echo 1 >/sys/kernel/tracing/events/box/enable
echo 1 >/sys/kernel/config/gpio-sim/header/live
# A contact that is open: the board's and the kiosk's own resistors hold its line up (docs/wiring.md).
for line in 5 6 12 13 16 19 20 21 26; do
    for pull in /sys/devices/platform/gpio-sim.*/gpiochip*/sim_gpio$line/pull; do echo pull-up >"$pull"; done
done
[ ! -e /dev/dma_heap ] || ln -sf system "/dev/dma_heap/linux,cma"
