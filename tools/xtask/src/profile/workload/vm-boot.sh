# A Debian guest boots to its user space, is told to power off there, and does.
still
mark 1
echo poweroff | redoubt run "$VM" --memory 256M --kernel /guest/Image --initrd /guest/initrd \
    --cmdline "console=ttyS0 quiet nokaslr norandmaps redoubt.mode=agent" >/run/vm.out 2>&1
status=$?
mark 0
[ $status = 0 ] && grep -q "guest: ready" /run/vm.out && grep -q "guest: powering off" /run/vm.out ||
    fail "the VM ended with $status: $(tail -n 3 /run/vm.out)"
echo "DID vm-boot machines=1"
