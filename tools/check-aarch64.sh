#!/bin/sh
# The engine's tests for AArch64 under emulation, so that the NEON kernels run on a machine of another kind. Says so and stops,
# without an error, where a tool is missing.
#
#     tools/check-aarch64.sh                                  # all unit tests of the engine
#     tools/check-aarch64.sh -p hardpan-engine --lib gemm     # arguments of cargo test
#
# Needs the target's standard library (`rustup target add aarch64-unknown-linux-gnu`), a linker and C library for it (on Debian:
# gcc-aarch64-linux-gnu and libc6-dev-arm64-cross) and qemu-user. RUSTC chooses another compiler, AARCH64_SYSROOT another place of
# the C library, and cargo's own CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER and _RUNNER another linker and emulator.
set -eu
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu

skip() {
    echo "check-aarch64: skipped: $1"
    exit 0
}
first_of() {
    for name in "$@"; do
        if command -v "$name" >/dev/null; then
            echo "$name"
            return
        fi
    done
}

library=$("${RUSTC:-rustc}" --print target-libdir --target $target 2>/dev/null || true)
ls "$library"/libstd-*.rlib >/dev/null 2>&1 || skip "no standard library for $target"

if [ "$(uname -m)" != aarch64 ]; then
    linker=${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-$(first_of aarch64-linux-gnu-gcc)}
    [ -n "$linker" ] || skip "no aarch64-linux-gnu-gcc"
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$linker"

    sysroot=${AARCH64_SYSROOT:-/usr/aarch64-linux-gnu}
    runner=${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER:-}
    if [ -z "$runner" ]; then
        emulator=$(first_of qemu-aarch64 qemu-aarch64-static)
        [ -n "$emulator" ] || skip "no qemu-aarch64"
        [ -d "$sysroot" ] || skip "no C library at $sysroot"
        runner="$emulator -L $sysroot"
    fi
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$runner"
fi

[ $# -gt 0 ] || set -- -p hardpan-engine --lib
exec cargo test --target $target "$@"
