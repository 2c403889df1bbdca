# The container's card is one end of a pair; the other end and the machine's card are on a bridge.
load network
card=$(card)
[ -n "$card" ] || fail "there is no network card"
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
brctl addbr bridge0 && ip link add pair0 type veth && brctl addif bridge0 pair0 &&
    brctl addif bridge0 "$card" || fail "no bridge"
for interface in "$card" pair0 bridge0; do ip link set "$interface" up; done
pair=$(basename "$(ls -d /sys/class/net/veth*)")
# Its namespace is made here, as an engine would, and has a name for the runtime to find it by.
touch $HOST/run/network
unshare -n mount --bind /proc/self/ns/net $HOST/run/network || fail "no network namespace"
inside() { nsenter --net=$HOST/run/network "$@"; }
nsenter --net=$HOST/run/network sleep 1000 &
holder=$!
until [ "$(readlink /proc/$holder/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do usleep 1000; done
ip link set "$pair" netns $holder && inside ip link set "$pair" name eth0 &&
    inside ip link set lo up && inside ip addr add 10.0.2.15/24 dev eth0 &&
    inside ip link set eth0 up || fail "the container's card does not work"
kill $holder
still
container || fail "the container"
