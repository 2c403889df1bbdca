insmod /hostile/hostile.ko || fail "the module of the hostile host does not load"
# hostile WORDS...: runs the attacks of the host's kernel.
hostile() {
    /hostile/redoubt-hostile --ram-base "$RAM_BASE" --ram-size "$RAM_SIZE" \
        --payloads /hostile/payload "$@"
}
cases=
for case in $(hostile list | cut -d ' ' -f 1); do
    case " $SKIPPED " in
    *" $case "*) ;;
    *) cases="$cases $case" ;;
    esac
done
still
mark 1
guests
hostile run $cases >/run/cases 2>&1
mark 0
wanted=$(echo $cases | wc -w)
[ "$(tail -n 1 /run/cases)" = "$wanted passed, 0 failed" ] ||
    fail "the hostile host: $(grep FAILED /run/cases | head -n 3) $(tail -n 1 /run/cases)"
checked
echo "DID hostcases cases=$wanted"
