# A guest that attacks, in each kind of VM that there is; VMS names them.
attempts() { sed -n 's/^.*FUZZ done: \([0-9]*\) attempts.*/\1/p' "$1"; }

guests() {
    for kind in $VMS; do
        redoubt run "$kind" --cpus 2 --memory 64M --kernel /hostile/payload/fuzz-guest \
            </dev/null >"/run/fuzz$kind" 2>&1 ||
            fail "the VM $kind of a hostile guest ended with $?: $(tail -n 3 "/run/fuzz$kind")"
    done
}

checked() {
    total=0
    for kind in $VMS; do
        count=$(attempts "/run/fuzz$kind")
        [ -n "$count" ] || fail "the hostile guest in a VM $kind did not come to its end"
        total=$((total + count))
    done
    echo "DID hostile attempts=$total"
}
