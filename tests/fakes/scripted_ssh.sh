#!/bin/bash
# What ssh would do, for tests: run a command in a folder that stands for the host.
#
# scripted_ssh.sh HOSTS HOST COMMAND: HOSTS/HOST is the folder. What the command (or the script on
# its standard input) says of /opt and /var is meant there; HOST/bin has the tools of the system.
set -euo pipefail
root=$1/$2
command=${3//\/opt\//$root/opt/}
command=${command//\/var\//$root/var/}
[ ! -e "$root/unreachable" ] || { echo "ssh: connect to host $2: No route to host" >&2; exit 255; }
printf '%s\n' "$command" | head -c 60 >>"$root/ssh.log"
export PATH=$root/bin:$PATH HOST_ROOT=$root
case $command in
*"sh -s"*) sed "s,/opt/,$root/opt/,g; s,/var/,$root/var/,g" | bash -c "$command" ;;
*) exec bash -c "$command" ;;
esac
