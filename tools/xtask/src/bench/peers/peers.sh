# What the peers are compared by. Marks: 1 by a process that touches memory, around what it does; 10 to
# 13 by a guest that measures; 2 before a VM starts, whose console makes mark 1 once user space speaks.
# The scripts before this one say how a VM is started: measuring_guest, speaking_guest.
still
$WORKLOAD fork /bin/true || fail "the process that touches memory"
measuring_guest || fail "the guest that measures: $(tail -n 3 /run/measuring.out)"
terminals ""
mark 2
speaking_guest || fail "the guest that speaks"
echo "DID peers"
