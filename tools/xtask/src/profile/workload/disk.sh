files
still
$WORKLOAD disk /dev/vda /data || fail "disk"
umount /data || fail "the second disk is still used"
