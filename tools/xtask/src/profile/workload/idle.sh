still
$WORKLOAD idle 2 || fail "idle"
