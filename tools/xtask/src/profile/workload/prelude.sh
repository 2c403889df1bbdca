# What the scripts of all workloads share. VM is how a virtual machine is asked for.
#
# A script makes `mark 1` right before and `mark 0` right after what is measured, says `DID ...` of
# what it did, and fails if that is not what it should have done.

WORKLOAD=/profile/redoubt-workload

mark() { $WORKLOAD mark "$1"; }

fail() {
    echo "WORKLOAD failed: $*"
    exit 1
}

# load GROUP: loads the modules of a group.
load() {
    while read -r module; do
        [ -e "/sys/module/$(basename "$module" .ko)" ] || insmod "$module" ||
            fail "$module does not load"
    done <"/profile/modules/$1/order"
}

# files: a file system on the second disk, at /data. Each disk has one request at a time.
files() {
    [ "$(cat /sys/module/virtio_blk/parameters/queue_depth)" = 1 ] || fail "the queue of disks is deep"
    load files
    mke2fs -F /dev/vdb >/dev/null || fail "no file system can be made on the second disk"
    mkdir -p /data && mount -t ext4 /dev/vdb /data || fail "the second disk cannot be mounted"
}

# card: prints the name of the virtio network card.
card() {
    for interface in /sys/class/net/*; do
        driver=$(basename "$(readlink -f "$interface/device/driver")")
        [ "$driver" = virtio_net ] && basename "$interface" && return
    done
}

# still: what the kernel does after its start is over when this returns.
still() { sleep 1; }

# terminals: what a program needs to open a terminal.
terminals() { mkdir -p "$1/dev/pts" && mount -t devpts devpts "$1/dev/pts" || fail "no terminals"; }

# modules: says where the code of each module is.
modules() {
    for file in /sys/module/*/sections/.*; do
        case "${file##*/}" in
        *text* | *plt*)
            module=${file#/sys/module/}
            echo "MODULE ${module%%/*} ${file##*/} $(cat "$file")"
            ;;
        esac
    done
}
