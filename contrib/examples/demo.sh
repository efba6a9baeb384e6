#!/bin/sh
# Starts superd with the three pools of pollers.toml in a private temporary folder,
# shows what it does with them, and stops it. Run it by make demo.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$here/../../bin" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/superd-demo.XXXXXX")
superd=

cleanup() {
	status=$?
	trap - EXIT INT TERM
	if [ -n "$superd" ] && kill -0 "$superd" 2>/dev/null; then
		kill -TERM "$superd"
		wait "$superd" || true
	fi
	if [ $status -ne 0 ] && [ -e "$dir/superd.log" ]; then
		echo "demo: failed; the end of superd's own log:" >&2
		tail -n 20 "$dir/superd.log" >&2
	fi
	rm -rf "$dir"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -t 1 ]; then
	say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
else
	say() { printf '\n# %s\n' "$*"; }
fi
ctl() { "$bin/superctl" -s "$dir/run/control.sock" "$@"; }
show() {
	printf '$ superctl %s\n' "$*"
	ctl "$@"
}

# A copy in this folder belongs to whoever runs the demo, as superd demands.
cp "$here/pollers.toml" "$dir/pollers.toml"
cat >"$dir/superd.toml" <<TOML
[superd]
include     = ["pollers.toml"]
runtime_dir = "$dir/run"
state_dir   = "$dir/state"
log_dir     = "$dir/log"
TOML
chmod 600 "$dir/superd.toml" "$dir/pollers.toml"

say "three pools: a polite one, a flaky one, one that ignores TERM"
"$bin/superd" check -c "$dir/superd.toml"
"$bin/superd" run -c "$dir/superd.toml" >"$dir/superd.log" 2>&1 &
superd=$!
tries=0
until ctl status >/dev/null 2>&1; do
	tries=$((tries + 1))
	if [ $tries -gt 150 ] || ! kill -0 "$superd" 2>/dev/null; then
		echo "demo: superd does not come up" >&2
		exit 1
	fi
	sleep 0.2
done
ctl start polite flaky impolite >/dev/null || true # waits until they are up
show status

say "a rolling restart: one worker after the other, each healthy before the next"
show restart polite
tail -n 4 "$dir/log/polite/0.log"

say "what happened until now (the flaky one crashes, and is restarted with growing waits)"
show events

say "superd dies and comes back: the workers do not notice"
kill -KILL "$superd"
wait "$superd" 2>/dev/null || true
"$bin/superd" run -c "$dir/superd.toml" >>"$dir/superd.log" 2>&1 &
superd=$!
show status

say "the one that ignores TERM is stopped all the same, with its children"
show stop impolite

say "what happened since"
show events

say "superctl shutdown stops every pool by its own stop sequence"
show shutdown
code=0
wait "$superd" || code=$?
superd=
echo "superd has ended with exit code $code"
[ $code -eq 0 ]

say "to keep it running"
cat <<TEXT
  bin/superd init >superd.toml        # a commented file to start from
  bin/superd run -c superd.toml       # stays in the foreground; Ctrl-C stops it
  bin/superctl status -w              # in another terminal
TEXT
