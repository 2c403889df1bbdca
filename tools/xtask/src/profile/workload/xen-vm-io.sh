# The guest answers every line with one that holds it.
linux
$WORKLOAD converse "guest: ready" 100 poweroff xl create -c /run/domain || fail "vm-io"
