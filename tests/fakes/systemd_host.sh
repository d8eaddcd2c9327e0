#!/bin/bash
# A host of its own under the real systemd, in namespaces: systemd_host.sh FOLDER VENV TREE KEPT
#
# /etc, /var and /opt are copies on write in FOLDER, so nothing here is changed; units of the
# distribution that would touch the kernel are out of reach. remuda is in /opt/remuda; its state and
# the logs lie in KEPT, so that they can be read when the host is down.
set -euo pipefail
folder=$1 venv=$2 tree=$3 kept=$4

mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
for name in var etc opt; do
    mkdir "$folder/$name.up" "$folder/$name.work"
    mount -t overlay -o "lowerdir=/$name,upperdir=$folder/$name.up,workdir=$folder/$name.work" overlay "/$name"
done
umount -l /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "$kept/logs" "$kept/remuda"
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/lock /run/logs
mount --bind "$kept/logs" /run/logs
chmod 1777 /run/lock
for wants in /usr/lib/systemd/system/*.target.wants; do
    mount -t tmpfs tmpfs "$wants"
done
rm -rf /etc/systemd/system /opt/remuda /var/lib/remuda /etc/remuda
mkdir -p /etc/systemd/system /var/lib/remuda
mount --bind "$kept/remuda" /var/lib/remuda

base=$("$venv/bin/python" -c 'import sys; print(sys.base_prefix)')
version=$("$venv/bin/python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
mkdir /opt/python
mount --bind "$base" /opt/python
"/opt/python/bin/$version" -m venv --without-pip /opt/remuda
{
    "$venv/bin/python" -c 'import sys; print(*(f for f in sys.path if f.endswith("-packages")), sep="\n")' |
        sed "s,^$base/,/opt/python/,"
    echo "$tree/src"
} >"/opt/remuda/lib/$version/site-packages/borrowed.pth"
for program in remuda remuda-scheduler remuda-store remuda-node; do
    sed '1s,.*,#!/opt/remuda/bin/python,' "$venv/bin/$program" >"/opt/remuda/bin/$program"
    chmod 755 "/opt/remuda/bin/$program"
done
# There is no journald here; and a shared libpython is not found by its own path any more.
for daemon in scheduler store node; do
    mkdir "/etc/systemd/system/remuda-$daemon.service.d"
    printf '[Service]\nStandardOutput=append:/run/logs/%s.log\nStandardError=append:/run/logs/%s.log\nEnvironment=LD_LIBRARY_PATH=/opt/python/lib\n' "$daemon" "$daemon" \
        >"/etc/systemd/system/remuda-$daemon.service.d/log.conf"
done
printf '[Unit]\nDescription=nothing\n' >/etc/systemd/system/idle.target
mkdir "/etc/systemd/system/remuda-run-as@.service.d"
printf '[Service]\nStandardError=append:/run/logs/run-as.log\nEnvironment=LD_LIBRARY_PATH=/opt/python/lib\n' \
    >"/etc/systemd/system/remuda-run-as@.service.d/log.conf"
export container=tests
exec /lib/systemd/systemd --system --unit=idle.target --log-target=console --log-level=notice --show-status=false
