# Measures what needs no protected VM.

insmod /hostile/hostile.ko || exit 1
/hostile/redoubt-hostile --payloads /hostile/payload bench-ordinary
