still
container || fail "the container"
