# Functions for the scripts that tests run on the host. CPUS, MEMORY_MIB and DISK_HASH are set.

# check NAME COMMAND...: reports whether the command succeeded, with the end of what it said.
check() {
    name=$1
    shift
    if answer=$("$@" 2>&1); then
        echo "CHECK $name ok"
    else
        echo "CHECK $name failed: $(echo "$answer" | tail -n 3 | tr '\n' ' ')"
    fi
}

# data NAME: sends the lines of its input.
data() {
    while IFS= read -r line; do
        echo "DATA $1 $line"
    done
}

# same WHAT IS SHOULD: compares two texts.
same() {
    [ "$2" = "$3" ] || { echo "$1 is \"$2\", should be \"$3\""; return 1; }
}
