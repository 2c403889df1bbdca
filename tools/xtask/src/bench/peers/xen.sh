measuring_guest() {
    domain /hostile/payload/bench-peer 'memory = 64'
    xl create /run/domain >/run/measuring.out 2>&1 || return 1
    while xl domid guest >/dev/null 2>&1; do usleep 10000; done
}

speaking_guest() {
    linux
    $WORKLOAD converse "guest: ready" 1 poweroff xl create -c /run/domain
}
