#!/bin/sh
# Print what a machine is, so that before and after can be compared: packages, login names, units, settings, firewall,
# mounts, open ports, and every file that no package brought.
set -eu
export LC_ALL=C

say() { sed "s|^|$1 |"; }

dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Abbrev}\n' | say package
apt-mark showauto | say automatic
getent passwd | say user
getent group | say group
systemctl list-unit-files --no-legend --plain | sort | say unit
systemctl list-units --all --no-legend --plain --state=failed | say failed
# Left out: the spare copies of passwd and group, and what was made from the list of libraries.
find /etc -xdev \( -name '*-' -o -name ld.so.cache \) -prune -o \
    -printf '%p %y %m %u %g %l\n' | sort | say file
find /etc -xdev \( -name '*-' -o -name ld.so.cache \) -prune -o -type f -print0 | sort -z |
    xargs -0 sha256sum | say sum
# Left out: what apt, dpkg and Ansible write down for themselves.
find /home /opt /root /srv /usr/local /var -xdev \( -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/cache \
    -o -path /var/log -o -path /var/tmp -o -path /root/.ansible \) -prune -o -printf '%p %y %m %u %g\n' | sort | say file
if command -v nft >/dev/null; then nft list ruleset; fi | say firewall
findmnt --real --noheadings --raw --output=TARGET,SOURCE,FSTYPE | say mount
ss --no-header --listening --tcp --udp --numeric | awk '{print $1, $5}' | sort -u | say port
