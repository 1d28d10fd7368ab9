#!/usr/bin/env bash
# Lints the package for the targets that are not this machine's, as far as a Linux machine can.
#
# Only checking happens, so nothing is linked and no program is built. A dependency compiles C and
# assembly for the target in its build script; for that, this script puts a compiler and an archiver
# into a temporary folder that only make the files they are asked for. What this cannot find: an
# error of a linker, or what goes wrong when a program runs there. It is not part of CI, because it
# adds targets to the toolchain.
#
#   tests/targets.sh            all of them
#   tests/targets.sh TARGET…    these
set -euo pipefail
cd "$(dirname "$0")/.."
targets=("$@")
[ $# -gt 0 ] || targets=(x86_64-apple-darwin aarch64-apple-darwin x86_64-unknown-linux-musl)

fakes=$(mktemp -d)
trap 'rm -rf "$fakes"' EXIT
echo "A compiler and an archiver that compile nothing are in $fakes until this ends."
cat > "$fakes/cc" <<'FAKE'
#!/bin/sh
# Makes the file that comes after -o, and claims to be clang.
while [ $# -gt 0 ]; do
    case $1 in
    -o) : > "$2" ;;
    --version) echo "clang version 0" ;;
    -E) echo clang ;;
    esac
    shift
done
FAKE
cat > "$fakes/ar" <<'FAKE'
#!/bin/sh
# Makes the archive: the first argument that is named like one.
for argument; do
    case $argument in *.a) : > "$argument" && exit ;; esac
done
FAKE
chmod +x "$fakes/cc" "$fakes/ar"

bad=0
for target in "${targets[@]}"; do
    rustup target add "$target"
    name=${target//-/_}
    echo "--- $target"
    # SDKROOT: or else a tool of macOS would be asked for its folder.
    env "CC_$name=$fakes/cc" "AR_$name=$fakes/ar" SDKROOT="$fakes" \
        cargo clippy --locked --all-targets --target "$target" -- -D warnings || bad=1
done
exit $bad
