# shellcheck shell=bash
# A container engine: the machine's own where one answers, else Debian's, run for the time of the tests only.
# shellcheck source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# Images stay in the engine's usual place, so that they are there at the next run; the process is ours and ends with us.
DOCKERD_PID_FILE=/run/mtls-kit-dockerd.pid
DOCKERD_LOG=$KIT_CACHE/dockerd.log
DOCKERD_STARTED=false

ensure_docker() {
  if have docker && docker info >/dev/null 2>&1; then return; fi
  ((EUID == 0)) || die "No container engine answers this user. Next: join the group docker, or run this as root."
  # python3-docker is not needed: Ansible's modules use .venv's.
  apt_install docker.io iptables
  if [[ -d /run/systemd/system ]]; then
    say "Starting the machine's docker.service"
    systemctl start docker.service
  else
    __dockerd_start
  fi
  __dockerd_wait || die "dockerd does not answer; its last words: $(tail -n 3 "$DOCKERD_LOG" 2>/dev/null). Next: read $DOCKERD_LOG"
}

__dockerd_start() {
  local pid_file
  # A machine that was switched off leaves pid files behind, and another process may have the number now.
  for pid_file in "$DOCKERD_PID_FILE" /run/docker/containerd/containerd.pid; do
    [[ -e $pid_file ]] && ! __runs_as "$(<"$pid_file")" 'dockerd|containerd' && rm -f -- "$pid_file"
  done
  say "Starting dockerd (pid file $DOCKERD_PID_FILE, log $DOCKERD_LOG)"
  mkdir -p "$KIT_CACHE"
  # A session of its own: an interrupt at the terminal must leave it to us to stop it, after the boxes are gone.
  setsid dockerd --pidfile "$DOCKERD_PID_FILE" >"$DOCKERD_LOG" 2>&1 </dev/null 9>&- &
  disown
  DOCKERD_STARTED=true
}

__runs_as() { [[ $(cat "/proc/$1/comm" 2>/dev/null) =~ ^($2)$ ]]; }

__dockerd_wait() {
  local try
  for ((try = 0; try < 150; try++)); do
    docker info >/dev/null 2>&1 && return
    sleep 0.2
  done
  return 1
}

# Stops the engine if this process started it.
stop_docker() {
  local pid try
  $DOCKERD_STARTED || return 0
  pid=$(cat "$DOCKERD_PID_FILE" 2>/dev/null) || return 0
  __runs_as "$pid" dockerd || return 0
  say "Stopping dockerd"
  kill "$pid"
  for ((try = 0; try < 100; try++)); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.2
  done
  say "dockerd (process $pid) is still ending"
}
