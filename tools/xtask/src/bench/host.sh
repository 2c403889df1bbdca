# Runs every program that measures something; each prints lines "BENCH name value".

insmod /hostile/hostile.ko || exit 1
/hostile/redoubt-hostile --payloads /hostile/payload bench || exit 1

# The same guest in both kinds of VM, under the real driver and VMM.
for kind in protected unprotected; do
    redoubt run --$kind --memory 32M --kernel /hostile/payload/bench-vmm </dev/null >/tmp/bench ||
        exit 1
    tr -d '\r' </tmp/bench | sed -n "s/^BENCH /BENCH ${kind}_/p"
done
