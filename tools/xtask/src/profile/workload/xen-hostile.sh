domain /hostile/payload/fuzz-guest 'memory = 64' 'vcpus = 2' 'vuart = "sbsa_uart"'
still
mark 1
run vuart
mark 0
total=$(attempts /run/vm.out)
[ -n "$total" ] || fail "the hostile guest did not come to its end: $(tail -n 3 /run/vm.out)"
echo "DID hostile attempts=$total"
