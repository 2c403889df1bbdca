still
mark 1
container >/run/container.out 2>&1
status=$?
mark 0
[ $status = 0 ] && grep -q "container: up" /run/container.out ||
    fail "the container ended with $status: $(tail -n 3 /run/container.out)"
[ -z "$(chroot $HOST /usr/bin/crun --root /run/crun list -q)" ] || fail "the container is still there"
echo "DID vm-boot containers=1"
