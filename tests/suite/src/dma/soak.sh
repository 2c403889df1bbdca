# Disks and network cards at work while VMs come and go. What goes wrong is in /run/NAME.error; every
# worker counts its rounds in /run/NAME.rounds and ends when /run/stop is there.

LENGTH=50

for module in $(cat /hostile/modules/order); do
    name=$(basename "$module" .ko)
    grep -q "^$name " /proc/modules || insmod "$module" || exit 1
done
for tenth in $(seq 100); do
    [ -b /dev/nvme0n1 ] && break
    sleep 0.1
done

# driven DRIVER: the interface that the driver drives.
driven() {
    for interface in /sys/class/net/*; do
        case "$(readlink "$interface/device/driver")" in
        */"$1") basename "$interface"; return ;;
        esac
    done
}

# worker NAME COMMAND...: repeats the command until it fails or the end is there.
worker() {
    worker=$1
    shift
    rounds=0
    while [ ! -e /run/stop ]; do
        if ! "$@" >"/run/$worker.log" 2>&1; then
            { echo "round $rounds"; tail -n 2 "/run/$worker.log"; } >"/run/$worker.error"
            break
        fi
        rounds=$((rounds + 1))
        echo $rounds >"/run/$worker.rounds"
    done
}

# disk DEVICE NAME: reads all but the last MiB past the cache, then writes that and reads it back.
disk() {
    hash=$(dd if="$1" iflag=direct bs=64k count=112 | sha256sum | cut -d ' ' -f 1)
    same "hash of $1" "$hash" "$EXPECTED" || return 1
    head -c 1048576 /dev/urandom >"/run/$2.written"
    dd if="/run/$2.written" of="$1" oflag=direct bs=32k seek=224 || return 1
    dd if="$1" of="/run/$2.read" iflag=direct bs=16k skip=448 count=64 || return 1
    cmp "/run/$2.written" "/run/$2.read"
}

network() {
    ping -I "$1" -c 4 -i 0.1 -W 10 -s 1400 10.0.2.2 | grep " 0% packet loss"
}

# worked NAME LEAST: the worker has done this much, and nothing went wrong.
worked() {
    if [ -e "/run/$1.error" ]; then
        cat "/run/$1.error"
        return 1
    fi
    rounds=$(cat "/run/$1.rounds")
    echo "$rounds rounds"
    [ "$rounds" -ge "$2" ]
}

guest() {
    echo poweroff | redoubt run --protected --cpus 2 --memory 128M \
        --kernel /guest/Image --initrd /guest/initrd \
        --cmdline "console=ttyS0 quiet redoubt.mode=agent" >/run/guest.out 2>&1
    status=$?
    tail -n 2 /run/guest.out
    [ $status -eq 0 ] && grep -q "guest: ready" /run/guest.out
}

churn() {
    /hostile/redoubt-hostile --payloads /hostile/payload run \
        shared-page aliases relinquished-page scrub-on-every-end lent-pages
}

EXPECTED=$(dd if=/dev/vda bs=1M count=7 2>/dev/null | sha256sum | cut -d ' ' -f 1)
insmod /hostile/hostile.ko || exit 1
card=$(dirname "$(grep -l 0x10c9 /sys/bus/pci/devices/*/device)")
echo 2 >"$card/sriov_numvfs" || exit 1
number=15
for driver in virtio_net e1000e igb; do
    interface=$(driven $driver)
    ip address add "10.0.2.$number/24" dev "$interface" && ip link set "$interface" up || exit 1
    number=$((number + 1))
done
for function in "$card"/virtfn*; do
    ip link set "$(ls "$function/net")" up
done
sleep 3

worker virtio-blk disk /dev/vda virtio-blk &
worker nvme disk /dev/nvme0n1 nvme &
worker virtio-net network "$(driven virtio_net)" &
worker e1000e network "$(driven e1000e)" &
worker igb network "$(driven igb)" &
worker churn churn &
worker guests guest &
sleep $LENGTH
: >/run/stop
wait

for name in virtio-blk nvme virtio-net e1000e igb; do
    check $name worked $name 5
done
check guests worked guests 1
check churn worked churn 1
# A transfer that was refused is reported by the driver as an event.
check kernel-log sh -c '! dmesg | grep -iE "i/o error|nvme.*(timeout|abort)|tx (hang|timeout)|BUG:|Oops|Call trace|redoubt.*was kept from"'
