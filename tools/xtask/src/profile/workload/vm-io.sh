# The guest answers every line with one that holds it.
terminals ""
$WORKLOAD converse "guest: ready" 100 poweroff \
    redoubt run "$VM" --memory 256M --kernel /guest/Image --initrd /guest/initrd \
    --cmdline "console=ttyS0 quiet nokaslr norandmaps redoubt.mode=agent" || fail "vm-io"
