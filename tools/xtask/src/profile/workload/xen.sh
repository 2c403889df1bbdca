# The toolstack in dom0, as Debian's init scripts start it. What makes and runs domains follows.
export PATH=$PATH:/usr/lib/xen-4.17/bin
load xen
mount -t xenfs xenfs /proc/xen || fail "this is no dom0"
terminals ""
mkdir -p /etc/xen /run/lock /run/xen /run/xenstored /var/lib/xen /var/lib/xenstored /var/log/xen
ln -s /run /var/run && ln -s /run/lock /var/lock && : >/etc/xen/xl.conf || fail "no folders for Xen"
xenstored --pid-file /run/xenstored.pid || fail "xenstored"
xen-init-dom0 >/dev/null || fail "dom0 cannot be entered in the store"
xenconsoled --pid-file=/run/xenconsoled.pid || fail "xenconsoled"

# domain KERNEL LINE...: writes the configuration of a domain, /run/domain.
domain() {
    printf 'name = "guest"\nkernel = "%s"\n' "$1" >/run/domain
    shift
    printf '%s\n' 'on_poweroff = "destroy"' 'on_reboot = "destroy"' 'on_crash = "destroy"' "$@" \
        >>/run/domain
}

# linux: a domain with a Debian guest.
linux() {
    domain /guest/Image 'ramdisk = "/guest/initrd"' 'memory = 256' \
        'extra = "console=hvc0 quiet nokaslr norandmaps redoubt.mode=agent"'
}

# run TYPE [LINE]: runs the domain to its end, with its console of this type in /run/vm.out, where LINE
# is typed.
run() {
    rm -f /run/vm.in && mkfifo /run/vm.in || fail "no pipe"
    exec 3<>/run/vm.in
    xl create -p /run/domain >/run/xl.out 2>&1 || fail "no domain: $(tail -n 3 /run/xl.out)"
    xenconsole --interactive --type "$1" "$(xl domid guest)" </run/vm.in >/run/vm.out 2>&1 &
    console=$!
    [ -z "$2" ] || echo "$2" >&3
    xl unpause guest
    wait $console
    while xl domid guest >/dev/null 2>&1; do usleep 1000; done
    exec 3>&-
}
