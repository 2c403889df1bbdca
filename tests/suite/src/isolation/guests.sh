# Two guests side by side. Each has its console in /run/NAME.in and /run/NAME.out.

# guest NAME FD WORDS...: starts a guest whose input this script holds open as descriptor FD.
guest() {
    name=$1
    fd=$2
    shift 2
    mkfifo "/run/$name.in"
    (
        redoubt run "$@" --kernel /guest/Image --initrd /guest/initrd \
            --cmdline "console=ttyS0 quiet redoubt.mode=agent" \
            <"/run/$name.in" >"/run/$name.out" 2>&1 &
        echo $! >"/run/$name.pid"
        wait $!
        echo $? >"/run/$name.status"
    ) &
    eval "exec $fd>/run/$name.in"
}

# says NAME TEXT: waits until the guest has said TEXT.
says() {
    for tenth in $(seq 1800); do
        grep -q "$2" "/run/$1.out" && return 0
        if [ -e "/run/$1.status" ]; then
            break
        fi
        sleep 0.1
    done
    echo "\"$2\" did not come from $1, which ended with $(cat /run/$1.status 2>&1);"
    tail -n 3 "/run/$1.out"
    dmesg | grep redoubt: | tail -n 2
    return 1
}

boots() {
    says "$1" "guest: ready" && grep -q "$2 CPUs" "/run/$1.out"
}

# ended NAME: waits for the end of the VMM and returns its status.
ended() {
    for tenth in $(seq 600); do
        if [ -e "/run/$1.status" ]; then
            echo "$1 ended with $(cat "/run/$1.status"): $(tail -n 2 "/run/$1.out")"
            return "$(cat "/run/$1.status")"
        fi
        sleep 0.1
    done
    echo "$1 does not end"
    return 200
}

word() { grep "guest: $2 " "/run/$1.out" | tail -n 1 | tr -d '\r' | sed "s/.*$2 //"; }
hash() { sha256sum | cut -d ' ' -f 1; }

# proves NAME FD: the guest's proof and its secret fit what it published at its start.
proves() {
    published=$(word "$1" "secret in memory, sha256")
    nonce=$(head -c 16 /dev/urandom | hash)
    echo "prove $nonce" >&"$2"
    # Up to the end of the line: it comes letter by letter.
    end=$(printf '\r')
    says "$1" "guest: proof .*$end" || return 1
    echo reveal >&"$2"
    says "$1" "guest: secret [0-9a-f]*$end" || return 1
    secret=$(word "$1" secret)
    same "hash of the secret" "$(printf %s "$secret" | hash)" "$published" || return 1
    same "proof" "$(word "$1" proof)" "$(printf %s "$nonce$secret" | hash)"
}

power_off() {
    echo poweroff >&3
    echo poweroff >&4
    ended ordinary && ended protected
}

signal() {
    guest signalled 5 --protected --memory 256M
    says signalled "guest: ready" || return 1
    kill -TERM "$(cat /run/signalled.pid)"
    ended signalled
    status=$?
    exec 5>&-
    same "exit status" $status 143
}

unload() {
    # The descriptors of a VM go with its process, its pages a moment later.
    for tenth in $(seq 100); do
        rmmod redoubt 2>/dev/null && return 0
        sleep 0.1
    done
    rmmod redoubt
}

check kvm /hostile/kvm_test
guest ordinary 3 --unprotected --memory 256M
guest protected 4 --protected --cpus 2 --memory 256M
check ordinary-boots boots ordinary 1
check protected-boots boots protected 2
check ordinary-proves proves ordinary 3
check protected-proves proves protected 4
check signal signal
check power-off power_off
check unload unload
