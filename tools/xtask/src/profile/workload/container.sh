# A container: its files and those of its runtime are below /container; the script of the workload
# follows. The runtime gets a root of its own, for the initial RAM file system cannot be left.
HOST=/run/host
mkdir -p $HOST && mount -t tmpfs tmpfs $HOST && cp -a /container/. $HOST || fail "no room"
cd $HOST && mkdir -p proc sys dev run tmp data || fail "no room"
mount -t proc proc proc && mount -t sysfs sysfs sys && mount -t devtmpfs devtmpfs dev &&
    mount -t cgroup2 cgroup2 sys/fs/cgroup && mount -t tmpfs tmpfs run || fail "the runtime's root"
terminals $HOST
cp /profile/redoubt-workload bundle/rootfs/bin/ && cp /bin/busybox bundle/rootfs/bin/ &&
    cp -a /bin/busybox $HOST/bin/ && cp /profile/redoubt-workload $HOST/bin/ || fail "no room"
chroot bundle/rootfs /bin/busybox --install -s /bin || fail "busybox"
chroot $HOST /bin/busybox --install -s /bin || fail "busybox"
cd /

# container: runs it to its end and removes it.
container() { chroot $HOST /usr/bin/crun --root /run/crun run --bundle /bundle box; }
