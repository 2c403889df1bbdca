# Measures disks and network; the same on a host without Redoubt.

while read -r module; do
    insmod "$module" || exit 1
done </hostile/modules/order
for interface in /sys/class/net/*; do
    [ "$(basename "$(readlink -f "$interface/device/driver")")" = virtio_net ] || continue
    ip addr add 10.0.2.15/24 dev "$(basename "$interface")" || exit 1
    ip link set "$(basename "$interface")" up || exit 1
done
# The card needs a moment; what the kernel still does after its start is over by then, too.
sleep 3
/hostile/redoubt-hostile throughput
