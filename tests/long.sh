#!/usr/bin/env bash
# The tests that repeat something, as often as it was promised once. `cargo test` repeats them a few
# times; this takes about half an hour, and is not part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."
long() { # VARIABLE=VALUE… TEST FILTER
    local arguments=("$@")
    echo "== $*"
    env "${arguments[@]:0:$#-2}" cargo test --locked --test "${arguments[-2]}" "${arguments[-1]}"
}
long ATTACKS=100000 attack nothing_reaches_the_screen_raw
long ATTACKS=100000 attack no_block_ends_early
long MEANWHILE_FLOOD=1024 monitors memory_does_not_grow_with_a_flood
long MEANWHILE_KILLS=1000 sessions killed_at_any_moment
long MEANWHILE_MESSAGES=10000 teams each_of_many_messages
long MEANWHILE_ROUNDS=50 teams killed
long MEANWHILE_SESSIONS=1000 teams sessions_with_everything_wired
cargo test --locked --test teams -- --ignored
