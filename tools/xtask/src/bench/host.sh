# Runs every program that measures something; each prints lines "BENCH name value".

if [ -x /hostile/redoubt-hostile ]; then
    insmod /hostile/hostile.ko || exit 1
    /hostile/redoubt-hostile --payloads /hostile/payload bench || exit 1
fi
