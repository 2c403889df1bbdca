card=$(card)
[ -n "$card" ] || fail "there is no network card"
echo 1 >"/proc/sys/net/ipv6/conf/$card/disable_ipv6"
ip addr add 10.0.2.15/24 dev "$card" && ip link set "$card" up || fail "the card does not work"
still
$WORKLOAD net 10.0.2.2 || fail "net"
