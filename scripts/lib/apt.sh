# This machine's package configuration, for builders of other file systems.  Sourced after common.sh.

write_apt_sources() { # write_apt_sources SUITE FILE: where this machine gets SUITE from; empty where it does not
  local suite=$1 keyring='' option=''
  for keyring in "/usr/share/keyrings/$(distribution)-archive-keyring.gpg" /usr/share/keyrings/debian-archive-keyring.gpg; do
    if [ -e "$keyring" ]; then option="[signed-by=$keyring] "; break; fi
  done
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null | sort -u |
    awk -v suite="$suite" -v option="$option" \
      '$2 == suite || $2 == suite "-updates" || $2 == suite "-security" {
         if ($3 == "main" || $3 == "universe") print "deb " option $1 " " $2 " " $3 }' >"$2"
}

write_apt_options() { # write_apt_options FILE: proxies and the like
  apt-config dump | grep -E '^Acquire::(Check-Valid-Until|Check-Date|Retries|http|https)' >"$1" || true
}
