# What demo and test need on a bare machine: system packages and a virtual environment.  Sourced after common.sh.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

family() {
  if command -v apt-get >/dev/null; then echo debian
  elif command -v dnf >/dev/null; then echo fedora
  elif command -v pacman >/dev/null; then echo arch
  else echo unknown; fi
}

# package_of PROGRAM: the package that brings it in this machine's distribution
package_of() {
  case $1:$(family) in
    nft:*) echo nftables ;;
    ip:fedora) echo iproute ;;
    ip:*) echo iproute2 ;;
    htpasswd:debian) echo apache2-utils ;;
    htpasswd:fedora) echo httpd-tools ;;
    htpasswd:arch) echo apache ;;
    busybox:debian) echo busybox-static ;;
    man:*) echo man-db ;;
    conntrack:fedora | conntrack:arch) echo conntrack-tools ;;
    docker-registry:fedora) echo docker-distribution ;;
    mmdebstrap:arch) echo debootstrap ;;
    node:*) echo nodejs ;;
    flock:* | mountpoint:*) echo util-linux ;;
    *) echo "$1" ;;
  esac
}

# ensure_packages PROGRAM…: install what is missing, and only that
ensure_packages() {
  local program missing=()
  for program in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || missing+=("$(package_of "$program")")
  done
  # Debian and Ubuntu ship venv apart from Python.
  if [ "$(family)" = debian ] && ! find_python >/dev/null; then missing+=(python3 python3-venv)
  elif [ "$(family)" = debian ] && ! "$(find_python)" -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=("$(basename "$(find_python)" | grep -x 'python3\.[0-9]*' || echo python3)-venv")
  elif ! find_python >/dev/null; then missing+=(python3); fi
  if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi
  find_python >/dev/null || install_newer_python
}

install_packages() {
  case $(family) in
    debian)
      with_progress "reading the package lists" apt-get update -q
      with_progress "installing $*" env DEBIAN_FRONTEND=noninteractive bash -c '
        # A package must not start its service here (docker-registry would take port 5000).
        made=
        if [ ! -e /usr/sbin/policy-rc.d ]; then made=yes; printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d
          chmod +x /usr/sbin/policy-rc.d; fi
        status=0
        apt-get install -y -q --no-install-recommends "$@" || status=$?
        [ -z "$made" ] || rm -f /usr/sbin/policy-rc.d
        for word in "$@"; do
          if [ "$word" = docker-registry ] && command -v systemctl >/dev/null; then
            systemctl disable docker-registry >/dev/null 2>&1 || true
          fi
        done
        exit $status' install "$@" ||
        die "cannot install $*; on Ubuntu the component universe must be enabled (add-apt-repository universe)" ;;
    fedora) with_progress "installing $*" dnf install -y "$@" || die "cannot install $*" ;;
    arch) with_progress "installing $*" pacman -Sy --noconfirm --needed "$@" || die "cannot install $*" ;;
    *) die "cannot install $*: neither apt-get, dnf nor pacman is here; install them by hand, then run this again" ;;
  esac
}

find_python() {
  local name
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}

install_newer_python() {
  note "this machine's python3 is older than 3.11"
  if [ "$(family)" = debian ]; then install_packages python3.11 python3.11-venv; else install_packages python3.11; fi
  find_python >/dev/null || die "cannot find Python 3.11 or newer; install it, then run this again"
}

hash_of() { # hash_of PATH…: of the content of files and folders
  find "$@" -type f -not -path '*/__pycache__/*' -not -path '*.egg-info/*' -print0 | LC_ALL=C sort -z |
    xargs -0 sha256sum | sha256sum | cut -c1-16
}

# What a build of the package takes; setup.py makes the descriptions of fields with scripts/generate_api.
package_sources=(pyproject.toml setup.py MANIFEST.in README.md src scripts/generate_api)

copy_package() { # copy_package DIRECTORY: the sources to build from, so that the checkout stays as it is
  (cd "$repo" && cp -r --parents "${package_sources[@]}" "$1/")
}

# The calling user's pip configuration also counts behind sudo.
adopt_pip_configuration() {
  [ -n "${SUDO_USER:-}" ] && [ -z "${PIP_CONFIG_FILE:-}" ] || return 0
  local home file
  home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
  for file in "$home/.config/pip/pip.conf" "$home/.pip/pip.conf"; do
    if [ -e "$file" ]; then export PIP_CONFIG_FILE=$file; fi
  done
}

# ensure_venv DIRECTORY KEY TITLE PIP-ARGUMENTS…: (re)install only when KEY has changed
ensure_venv() {
  local venv=$1 key=$2 title=$3
  shift 3
  if [ "$(cat "$venv/.podhost-key" 2>/dev/null)" = "$key" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    note "$title: up to date"
    return 0
  fi
  adopt_pip_configuration
  mkdir -p "$(dirname "$venv")"
  if ! "$venv/bin/python" -c '' 2>/dev/null; then
    with_progress "making a virtual environment in $venv" "$(find_python)" -m venv --clear "$venv"
  fi
  with_progress "$title" "$venv/bin/python" -m pip install --disable-pip-version-check "$@"
  echo "$key" >"$venv/.podhost-key"
}

# ensure_node_modules DIRECTORY PACKAGE.JSON: (re)install only when PACKAGE.JSON has changed
ensure_node_modules() {
  local directory=$1
  mkdir -p "$directory"
  # Held while this installs, and no longer: the tests that follow take minutes.
  {
    flock -n 8 || { note "waiting for another installation of the JavaScript client"; flock 8; }
    install_node_modules "$@" 8>&-
  } 8>"$directory/.lock"
}

install_node_modules() {
  local directory=$1 wanted=$2
  if cmp -s "$wanted" "$directory/package.json" && [ -e "$directory/.complete" ]; then
    note "the JavaScript client: up to date"
    return 0
  fi
  rm -rf "$directory/.complete" "$directory/node_modules"
  cp "$wanted" "$directory/package.json"
  with_progress "installing the JavaScript client" \
    npm install --prefix "$directory" --no-audit --no-fund --no-package-lock --ignore-scripts
  touch "$directory/.complete"
}
