still
$WORKLOAD fork /bin/true || fail "fork"
