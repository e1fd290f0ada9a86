#!/usr/bin/env bash
# Prepare this checkout: system packages, .venv, and edge_runtime in it, editable.
#
#   scripts/setup.sh EXTRAS       EXTRAS as in pyproject.toml, for example demo,dev
#
# PYTHON names the interpreter; TORCH is what pip installs before the rest (default: nothing).
# System packages are installed only where root or a passwordless sudo may use apt-get; elsewhere
# one line says what to install.
set -euo pipefail
cd "$(dirname "$0")/.."

extras="${1:?usage: scripts/setup.sh EXTRAS}"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

say() { printf 'setup: %s\n' "$*" >&2; }

# Install the given Debian packages; return 1 where that is not allowed or does not work.
apt_install() {
  local -a as_root=()
  command -v apt-get >/dev/null || return 1
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || return 1
    as_root=(sudo -n)
  fi
  say "installing $* with apt-get"
  "${as_root[@]}" apt-get update -qq || say "apt-get update failed; trying with the lists at hand"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Print the first interpreter that is new enough.
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.10}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  return 1
}

# Debian keeps ensurepip, which venv needs, in a package of its own.
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

has_rtsp_server() {
  /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null
}

system_packages() {
  local python missing=() needed=0
  if python="$(find_python)"; then
    if [ ! -x .venv/bin/python ] && ! can_make_venv "$python"; then
      missing+=("$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')")
      needed=1
    fi
  else
    missing+=(python3 python3-venv)
    needed=1
  fi
  if ! command -v espeak-ng >/dev/null; then
    missing+=(espeak-ng) # the voice
    needed=1
  fi
  if ! command -v ffmpeg >/dev/null; then
    missing+=(ffmpeg) # recordings that soundfile cannot read
  fi
  if [[ ",$extras," == *,dev,* && ! -x /usr/sbin/mosquitto ]] && ! command -v mosquitto >/dev/null; then
    missing+=(mosquitto) # the tests of delegation talk to a real broker
  fi
  if [[ ",$extras," == *,dev,* ]]; then
    command -v openssl >/dev/null || missing+=(openssl) # ... with certificates
    # ... over a network that they cut
    [ -x /usr/sbin/tc ] || command -v tc >/dev/null || missing+=(iproute2)
  fi
  if [[ ",$extras," =~ ,(train|evaluate), ]] && ! command -v festival >/dev/null; then
    # The factory's third synthesizer; flite and espeak-ng come as libraries of what is above.
    missing+=(festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts)
  fi
  if [[ ",$extras," == *,train,* && ! -e /usr/share/wordnet/data.verb ]]; then
    missing+=(wordnet-base) # sentences and nouns to train on
  fi
  if [[ ",$extras," == *,dev,* ]] && ! command -v g++ >/dev/null; then
    missing+=(g++ python3-dev) # the tests of TensorRT compile what stands in for its libraries
  fi
  if [[ ",$extras," =~ ,(audio|dev), && ! -e /usr/include/portaudio.h ]]; then
    missing+=(portaudio19-dev gcc libc6-dev python3-dev) # pyaudio is compiled on the spot
    [[ ",$extras," != *,audio,* ]] || needed=1
  fi
  if [[ ",$extras," == *,dev,* ]] && ! command -v pulseaudio >/dev/null; then
    missing+=(pulseaudio pulseaudio-utils libasound2-plugins) # the tests' sound cards
  fi
  if [[ ",$extras," == *,dev,* ]] && ! has_rtsp_server; then
    # The tests' network camera: 28 MB to fetch, run by the system's Python.
    missing+=(python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad)
  fi
  if [[ ",$extras," =~ ,(audio|dev), ]] && ! PATH+=:/sbin ldconfig -p 2>/dev/null | grep libspeexdsp >/dev/null; then
    missing+=(libspeexdsp1) # the echo canceller
  fi
  [ "${#missing[@]}" -gt 0 ] || return 0
  if ! apt_install "${missing[@]}"; then
    say "please install what is missing: sudo apt-get install -y ${missing[*]}"
    return "$needed"
  fi
}

python_packages() {
  local python
  # The tests of sound need pyaudio; without PortAudio's headers they skip.
  if [[ ",$extras," == *,dev,* && -e /usr/include/portaudio.h ]]; then
    extras+=,audio
  fi
  if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    if ! python="$(find_python)"; then
      say "no Python 3.10 or later here; install one, or name it: make PYTHON=/path/to/python3.12 ..."
      return 1
    fi
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
  fi
  if [ -n "${TORCH:-}" ]; then
    # Unquoted on purpose: TORCH may hold pip options too.
    # shellcheck disable=SC2086
    .venv/bin/python -m pip install $TORCH
  fi
  .venv/bin/python -m pip install --editable ".[$extras]"
  if [[ ",$extras," == *,train,* ]] && ! .venv/bin/python -m pip install --editable '.[pico]'; then
    say "training does without Pico, one synthesizer of four: it did not compile"
  fi
}

system_packages
python_packages
