# Shared by the scripts beside this folder; sourced, never run.  Needs bash.

if [ -t 2 ]; then BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' OFF=$'\e[0m'
else BOLD='' DIM='' RED='' GREEN='' OFF=''; fi

say()  { printf '%s==>%s %s\n' "$BOLD$GREEN" "$OFF" "$*" >&2; }
note() { printf '    %s%s%s\n' "$DIM" "$*" "$OFF" >&2; }
die()  { printf '%serror:%s %s\n' "$BOLD$RED" "$OFF" "$*" >&2; exit 1; }

require_root() {
  [ "$(uname -s)" = Linux ] || die "podhost runs on Linux only; use a Linux virtual machine"
  [ "$(id -u)" = 0 ] || die "cannot go on: this needs root (mounts, namespaces, bridges). Run: sudo $0 $*"
}

# with_progress TITLE COMMAND…: one line that counts seconds; the output is shown only when COMMAND fails.
with_progress() {
  local title=$1 log started pid status=0
  shift
  log=$(mktemp)
  started=$SECONDS
  "$@" >"$log" 2>&1 &
  pid=$!
  # A background job does not get the terminal's Ctrl-C.
  trap 'end_tree "$pid"; exit 130' INT TERM
  if [ -t 2 ]; then
    local columns room
    while kill -0 "$pid" 2>/dev/null; do
      # A line that wraps cannot be drawn over again.
      columns=$(stty size <&2 2>/dev/null | cut -d' ' -f2)
      room=$((${columns:-80} - ${#title} - 14))
      if [ $room -lt 0 ]; then room=0; fi
      printf '\r    %s … %ss %s%.*s%s\e[K' "$title" $((SECONDS - started)) "$DIM" $room "$(last_line "$log")" "$OFF" >&2
      sleep 0.5
    done
    printf '\r\e[K' >&2
  else
    printf '    %s …\n' "$title" >&2
  fi
  wait "$pid" || status=$?
  trap - INT TERM
  if [ "$status" = 0 ]; then
    printf '    %s: %ss\n' "$title" $((SECONDS - started)) >&2
  else
    tail -n 60 "$log" >&2
    printf '%serror:%s cannot finish "%s": exit status %s of: %s\n' "$BOLD$RED" "$OFF" "$title" "$status" "$*" >&2
  fi
  rm -f "$log"
  return "$status"
}

end_tree() { # a process that this script started, and its children
  local child
  for child in $(ps -o pid= --ppid "$1" 2>/dev/null); do end_tree "$child"; done
  kill "$1" 2>/dev/null || true
}

last_line() { tail -n 1 "$1" 2>/dev/null | tr -d '\r\033' | tr '\t' ' '; }

distribution() { ( . /etc/os-release 2>/dev/null; printf '%s' "${ID:-unknown}" ); }
codename()     { ( . /etc/os-release 2>/dev/null; printf '%s' "${VERSION_CODENAME:-}" ); }

docker_hub_reachable() {
  [ "${PODHOST_NO_DOCKER_HUB:-}" = "" ] || return 1
  local code
  code=$(curl --silent --output /dev/null --connect-timeout 3 --max-time 6 --write-out '%{http_code}' \
    https://registry-1.docker.io/v2/ 2>/dev/null) || return 1
  [ "$code" = 200 ] || [ "$code" = 401 ]
}
