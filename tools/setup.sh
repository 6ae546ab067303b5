#!/bin/sh
# Gets the tools a target needs on a fresh machine, or names what a person must install.
#   setup.sh run     Python, Rust, a C linker; uv from the package index, in .tools, if missing
#   setup.sh test    the same as run, and Go, a JDK 17, Maven and strace (the last three by apt when missing
#                    and root)
#   setup.sh power   the same as run, and nbdkit, nbdfuse, FUSE (by apt when missing and root)
set -eu

missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing
  - $2"; }

need python3 "Python 3.11 or later (python3)"
need cargo "Rust 1.88 or later (cargo, rustc): the native engine is built from source"
need cc "a C compiler (cc): Rust links with it"

if [ "$1" = test ]; then
    need go "Go 1.21 or later (go): the Go client suite"
    if ! command -v javac >/dev/null 2>&1 || ! command -v mvn >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            echo "setup: installing JDK 17 and Maven by apt" >&2
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openjdk-17-jdk-headless maven >&2
        else
            need javac "a JDK 17 (javac): the Java client suite and the reference server"
            need mvn "Maven (mvn): the Java client suite and the reference server"
        fi
    fi
    if ! command -v strace >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            echo "setup: installing strace by apt" >&2
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq strace >&2
        else
            need strace "strace: tests of disk errors and slow disks"
        fi
    fi
fi

if [ "$1" = power ] && ! command -v nbdfuse >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "setup: installing nbdkit and nbdfuse by apt" >&2
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            nbdkit nbdkit-plugin-python libnbd-bin fuse3 >&2
    else
        need nbdfuse "nbdkit with its Python plugin, nbdfuse and FUSE 3, and root: power cuts"
    fi
fi

if [ -n "$missing" ]; then
    echo "setup: please install, then run this again:$missing" >&2
    exit 1
fi

if ! command -v uv >/dev/null 2>&1 && [ ! -x .tools/bin/uv ]; then
    echo "setup: installing uv from the package index into .tools" >&2
    # A folder of its own: the system's Python may not be ours to change. Without pip, by a venv.
    if python3 -m pip --version >/dev/null 2>&1; then
        python3 -m pip install --quiet --root-user-action ignore --target .tools uv==0.13.8
    else
        python3 -m venv .tools
        .tools/bin/pip install --quiet uv==0.13.8
    fi
fi
