measuring_guest() {
    redoubt run "$VM" --memory 64M --kernel /hostile/payload/bench-peer </dev/null \
        >/run/measuring.out 2>&1
}

speaking_guest() {
    $WORKLOAD converse "guest: ready" 1 poweroff \
        redoubt run "$VM" --memory 256M --kernel /guest/Image --initrd /guest/initrd \
        --cmdline "console=ttyS0 quiet nokaslr norandmaps redoubt.mode=agent"
}
