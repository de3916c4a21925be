# shellcheck shell=bash
# What every script here uses. Source it; it changes nothing but defines names.

KIT_ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
# Everything a script leaves in the checkout lies here, ignored by git.
# shellcheck disable=SC2034  # for those who source this
KIT_CACHE=$KIT_ROOT/.cache

# Progress, on standard error: standard output is for results.
say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

# One sentence each: what is wrong, what was found, what to do next.
die() {
  printf 'ERROR: %s\n' "$*" >&2
  exit 1
}

have() { command -v -- "$1" >/dev/null 2>&1; }

# One checksum over what arrives on standard input.
checksum() { sha256sum | cut -c1-64; }

# apt_install PACKAGE…: installs those that are missing, without starting the services they bring.
apt_install() {
  local package missing=()
  for package in "$@"; do
    # shellcheck disable=SC2016  # the format is dpkg-query's
    [[ $(dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  have apt-get || die "missing: ${missing[*]}. apt-get was not found, so this is no Debian. Next: install them by hand."
  ((EUID == 0)) || die "missing Debian packages: ${missing[*]}. You are not root. Next: sudo apt-get install ${missing[*]}"
  say "Installing Debian's ${missing[*]}"
  mkdir -p "$KIT_CACHE"
  # One at a time: parts that run side by side install, too, and apt waits for the lock of its lists with no one.
  (
    flock 9
    apt_get update && apt_get install --yes --no-install-recommends "${missing[@]}"
  ) 9>>"$KIT_CACHE/apt.lock" ||
    die "apt-get could not install ${missing[*]}; its output is in $KIT_CACHE/apt.log. Next: read it, or install them by hand."
}

# RUNLEVEL=1 makes Debian's service scripts start nothing.
apt_get() {
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -o DPkg::Lock::Timeout=120 "$@" \
    >>"$KIT_CACHE/apt.log" 2>&1 </dev/null
}
