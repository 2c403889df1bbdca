still
chroot $HOST /bin/redoubt-workload converse "container: ready" 100 poweroff \
    /usr/bin/crun --root /run/crun run --bundle /bundle box || fail "vm-io"
