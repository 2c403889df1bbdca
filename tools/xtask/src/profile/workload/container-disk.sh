files
[ "$(cat /sys/class/block/vda/dev)" = 254:0 ] || fail "the first disk has another number"
mount --bind /data $HOST/data || fail "the second disk cannot be mounted"
still
container || fail "the container"
