insmod /hostile/hostile.ko || fail "the module of the hostile host does not load"
hidden=$(dmesg | sed -n 's/^.*Reserved [0-9]* MiB at \(0x[0-9a-f]*\).*/\1/p' | head -n 1)
[ -n "$hidden" ] || fail "the kernel does not say where pKVM has its memory"
still
mark 1
guests
$WORKLOAD hostcalls 1 1500 "$hidden" >/run/calls 2>&1
status=$?
mark 0
cat /run/calls
[ $status = 0 ] || fail "the hostile host"
checked
