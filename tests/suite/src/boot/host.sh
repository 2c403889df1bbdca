# What a stock host must be able to do, with Redoubt under it or without.

cpus() {
    last=$((CPUS - 1))
    all=0
    [ $last -eq 0 ] || all="0-$last"
    same "online CPUs" "$(cat /sys/devices/system/cpu/online)" "$all"
}

started_at_el1() {
    dmesg | grep -q "CPU: All CPU(s) started at EL1"
}

# The kernel itself, its page structures, and what is below it take less than an eighth and 128 MiB.
memory() {
    total=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
    least=$((MEMORY_MIB - MEMORY_MIB / 8 - 128))
    echo "$total of $MEMORY_MIB MiB"
    [ "$total" -ge $least ] && [ "$total" -le "$MEMORY_MIB" ]
}

# A second of sleep is a second of the counter, within what a busy machine may add.
clock() {
    before=$(cut -d ' ' -f 1 /proc/uptime | tr -d .)
    sleep 1
    after=$(cut -d ' ' -f 1 /proc/uptime | tr -d .)
    took=$((after - before))
    echo "a second took $took hundredths"
    [ $took -ge 95 ] && [ $took -le 1000 ]
}

# Every CPU gets timer interrupts, and the others' calls.
interrupts() {
    line=$(grep arch_timer /proc/interrupts | head -n 1)
    echo "$line"
    set -- $line
    shift
    for cpu in $(seq "$CPUS"); do
        [ "$1" -gt 0 ] || return 1
        shift
    done
    [ "$CPUS" -eq 1 ] || grep -q "Rescheduling interrupts" /proc/interrupts
}

hotplug() {
    cpu=1
    while [ $cpu -lt "$CPUS" ]; do
        file=/sys/devices/system/cpu/cpu$cpu/online
        for round in 1 2; do
            echo 0 >$file && same "CPU $cpu" "$(cat $file)" 0 || return 1
            echo 1 >$file && same "CPU $cpu" "$(cat $file)" 1 || return 1
            # It must run something, not only be listed.
            taskset -c $cpu true || return 1
        done
        cpu=$((cpu + 1))
    done
    cpus
}

# Reads the disk, writes its last MiB and reads that back past the cache.
disk() {
    same "the disk's hash" "$(sha256sum </dev/vda | cut -d ' ' -f 1)" "$DISK_HASH" || return 1
    head -c 1048576 /dev/urandom >/tmp/written
    dd if=/tmp/written of=/dev/vda bs=1M seek=7 conv=fsync || return 1
    echo 3 >/proc/sys/vm/drop_caches
    dd if=/dev/vda of=/tmp/read bs=1M skip=7 count=1 || return 1
    cmp /tmp/written /tmp/read
}

network() {
    ip address add 10.0.2.15/24 dev eth0 && ip link set eth0 up || return 1
    ping -c 3 -W 5 -s 1400 10.0.2.2
}

# The teaching device says who it is, inverts what it is told and computes a factorial.
pcie() {
    device=$(grep -l 0x11e8 /sys/bus/pci/devices/*/device) || { echo "no edu device"; return 1; }
    device=${device%/device}
    echo 1 >"$device/enable"
    base=$(head -n 1 "$device/resource" | cut -d ' ' -f 1)
    same "identification" "$(devmem "$base" 32)" 0x010000ED || return 1
    devmem $((base + 4)) 32 0x12345678
    same "inverse" "$(devmem $((base + 4)) 32)" 0xEDCBA987 || return 1
    devmem $((base + 8)) 32 10
    sleep 1
    same "factorial" "$(devmem $((base + 8)) 32)" 0x00375F00
}

check cpus cpus
check started-at-el1 started_at_el1
check memory memory
check clock clock
check interrupts interrupts
check hotplug hotplug
if [ -e /sys/bus/pci/devices/0000:00:01.0 ]; then
    check disk disk
    check network network
    check pcie pcie
fi
grep "System RAM" /proc/iomem | data iomem
