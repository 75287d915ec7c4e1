#!/bin/bash
# In the guest: a file system over NFS, from a server on the loopback. nfs-drive.sh make DISK; nfs-drive.sh mount DISK PLACE;
# nfs-drive.sh stop, and start, the server alone
[ "$VM_RUN" = 1 ] || exit 1
set -euo pipefail
tools=$LAB_PROJECT/test/.cache/nfs
PATH=$tools/usr/sbin:$tools/sbin:$PATH
LD_LIBRARY_PATH=$(echo "$tools"/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH
exported=/srv/nfs

# After a start it serves nobody for as long as its clients of before may come back: 10 s is the least that it can be told.
start() { rpc.nfsd --no-udp --no-nfs-version 3 --lease-time 10 --grace-time 10 2; }

case $1 in
  make)
    if mountpoint -q "$exported"; then
      exportfs -ua
      umount "$exported"
    fi
    mkfs.ext4 -q -F "$2"
    ;;
  mount)
    mkdir -p "$exported" /var/lib/nfs/v4recovery
    touch /var/lib/nfs/etab /var/lib/nfs/rmtab
    mount "$2" "$exported"
    if ! mountpoint -q /proc/fs/nfsd; then
      ip link set lo up
      modprobe -a nfsd nfsv4
      mount -t nfsd nfsd /proc/fs/nfsd
    fi
    exportfs -i -o rw,sync,no_root_squash,no_subtree_check,insecure,fsid=0 "127.0.0.1:$exported"
    start
    # Without NFS 3 it only answers the kernel; it is angry that no rpcbind listens.
    pidof rpc.mountd >/dev/null || rpc.mountd --no-nfs-version 3 2>/dev/null
    mount.nfs 127.0.0.1:/ "$3" -o vers=4.2
    ;;
  stop) rpc.nfsd 0 ;;
  start) start ;;
  *) exit 2 ;;
esac
