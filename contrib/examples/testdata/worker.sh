#!/bin/sh
# Takes jobs, which are files, out of spool, and writes into jobs.log what happens to it.
say() { echo "$*" >>jobs.log; }

args=$(echo "$*" | tr ' ' ,)
say start $$ "slot=$SLOT" "queue=$QUEUE" "args=$args" "uid=$(id -u)" "umask=$(umask)" \
	"nofile=$(ulimit -n)" "nice=$(nice)" "oom=$(cat /proc/self/oom_score_adj)"
echo "said by $$"
echo "said in trouble by $$" >&2
[ ! -e poison ] || exit 1

for signal in INT QUIT TERM; do
	trap "say signal $signal \$\$; leaving=1" $signal
done
while [ -z "$leaving" ]; do
	for file in spool/*; do
		job=${file#spool/}
		mv "$file" "taken/$job" 2>/dev/null || continue
		read -r what arg <"taken/$job"
		say begin "$job" $$
		case $what in
		work) sleep "$arg" ;;
		exit) exit "$arg" ;;
		deaf)
			trap '' INT QUIT TERM
			sleep 1000 &
			say child $!
			wait
			;;
		esac
		say end "$job" $$
		[ -z "$leaving" ] || break
	done
	sleep 0.5
done
say left $$
