# A Debian guest boots to its user space, is told to power off there, and does.
linux
still
mark 1
run pv poweroff
mark 0
grep -q "guest: ready" /run/vm.out && grep -q "guest: powering off" /run/vm.out ||
    fail "the domain ended early: $(tail -n 3 /run/vm.out)"
echo "DID vm-boot machines=1"
