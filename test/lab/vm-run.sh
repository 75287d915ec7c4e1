#!/bin/bash
# The lab: runs a command in a throw-away QEMU guest that has a real device mapper (dm-thin-pool, loop, btrfs, xfs,
# ext4 and more), with this machine's own userland (node, lvm2, thin-provisioning-tools …) as its root. Without KVM the
# processor is emulated: node runs 10 to 20 times slower there, so behaviour is proved in it, and never speed.
#
#   vm-run.sh [options] -- COMMAND [ARG...]     one argument: a shell command line
#   vm-run.sh --prepare                          only fetch and unpack the kernel, and build the initrd
#
# The guest boots a Debian kernel (fetched with apt-get download, unpacked with dpkg -x, never installed; kept below
# ~/.cache/sparsebak-lab), mounts this machine's / read-only over 9p with a tmpfs on top, mounts each --share directory
# read-write at the same path, and runs COMMAND as root in the current directory. stdout, stderr and the exit code
# come back separately; whatever the guest writes outside of a share is lost. Its /tmp is empty: share what it needs.
#
# Scripts meant for the guest begin with  [ "$VM_RUN" = 1 ] || exit 1  and use $VM_DISK only, so that they can never
# touch a real disk.
#
# Options
#   --disk SIZE       add a blank scratch disk (sparse; repeatable; default one of 4G;
#                     in the guest /dev/vda, /dev/vdb, ..., first also $VM_DISK)
#   --disk-file PATH  add an existing raw image instead (kept; written to)
#   --no-disk         no scratch disk
#   --share DIR       share DIR read-write at the same path (repeatable; default: none)
#   --mem MIB         guest memory in MiB (default 2048)
#   --smp N           virtual CPUs (default 2; 1 when emulated, where each costs more than it brings)
#   --timeout SECONDS kill the guest after this long (default 600; exit status 124)
#   --accel kvm|tcg|auto   default auto: kvm when the CPU has vmx/svm and /dev/kvm opens
#   --cpu MODEL       qemu -cpu (default: host for kvm; for tcg qemu64 and a few features)
#   --env NAME        pass this environment variable through (repeatable)
#   --stdin           connect this script's stdin to the command's stdin
#   --udev            run the host's systemd-udevd in the guest, as a real system would:
#                     /dev/mapper/NAME is then a link to ../dm-N, /dev/disk/by-* exist;
#                     without it lvm makes /dev/mapper/NAME as device nodes of their own
#   --console FILE    keep the guest's kernel console there
#   --trace           print timings to stderr
# Exit status: the command's own; 124 timed out; 125 the guest died or never started.
#
# Host packages: qemu-system-x86 busybox-static kmod cpio xz-utils zstd lz4
#                (and lvm2 thin-provisioning-tools ... for what you run in it)
set -euo pipefail

CACHE=${VM_RUN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sparsebak-lab}
KPKG=${VM_RUN_KERNEL_PKG:-linux-image-amd64}
QEMU=${VM_RUN_QEMU:-qemu-system-x86_64}

die() { echo "vm-run: $*" >&2; exit 125; }
now() { date +%s.%N; }

disks=() ; diskfiles=() ; shares=() ; envs=()
mem=2048 smp='' limit=600 accel=auto
cpu='' console='' trace='' usestdin='' prepare='' nodisk='' udev=''
while [ $# -gt 0 ]; do
  case $1 in
    --disk) disks+=("$2"); shift 2 ;;
    --disk-file) diskfiles+=("$2"); shift 2 ;;
    --no-disk) nodisk=1; shift ;;
    --share) shares+=("$(realpath "$2")"); shift 2 ;;
    --mem) mem=$2; shift 2 ;;
    --smp) smp=$2; shift 2 ;;
    --timeout) limit=$2; shift 2 ;;
    --accel) accel=$2; shift 2 ;;
    --cpu) cpu=$2; shift 2 ;;
    --env) envs+=("$2"); shift 2 ;;
    --stdin) usestdin=1; shift ;;
    --console) console=$2; shift 2 ;;
    --udev) udev=1; shift ;;
    --trace) trace=1; shift ;;
    --prepare) prepare=1; shift ;;
    --) shift; break ;;
    -h|--help) sed -n '2,/^set -/p' "$0" | sed -n 's/^# \{0,1\}//p'; exit 0 ;;
    *) die "unknown option $1" ;;
  esac
done
[ -n "$prepare" ] || [ $# -gt 0 ] || die "no command; see --help"

PATH=$PATH:/usr/sbin:/sbin
for t in "$QEMU" busybox modprobe depmod cpio dpkg timeout; do
  command -v "$t" >/dev/null || die "$t not found (packages: qemu-system-x86 busybox-static kmod cpio dpkg)"
done

# ---------------------------------------------------------------- kernel, initrd
# Modules the initrd loads, in this order, each with what it depends on. All others
# (btrfs, xfs, loop, dm-snapshot, ...) load on demand from the shared module tree.
MODS="virtio_mmio virtio_pci 9pnet_virtio 9p overlay virtio_blk virtio_console dm-thin-pool"

prepare_kernel() {
  local tmp kver boot
  mkdir -p "$CACHE"
  tmp=$(mktemp -d "$CACHE/prep.XXXXXX")
  if [ -z "${VM_RUN_KERNEL_DEB:-}" ]; then
    local pkg
    pkg=$(apt-cache depends "$KPKG" 2>/dev/null | awk '/Depends: linux-image/{print $2; exit}')
    [ -n "$pkg" ] || pkg=$KPKG
    (cd "$tmp" && apt-get -qq download "$pkg" 2>/dev/null) || die "apt-get download $pkg failed (apt-get update first?)"
    VM_RUN_KERNEL_DEB=$(ls "$tmp"/*.deb)
  fi
  dpkg -x "$VM_RUN_KERNEL_DEB" "$tmp/k"
  rm -f "$tmp"/*.deb
  [ -d "$tmp/k/lib/modules" ] || { mkdir -p "$tmp/k/lib"; mv "$tmp/k/usr/lib/modules" "$tmp/k/lib/"; }
  kver=$(ls "$tmp/k/lib/modules")
  depmod -b "$tmp/k" "$kver"
  # An uncompressed ELF kernel is entered at its PVH entry point: no decompressor to
  # run in the guest, which under TCG is most of the boot.
  boot=$tmp/k/boot/vmlinuz-$kver
  local setup off len magic
  setup=$(od -An -tu1 -j 497 -N1 "$boot" | tr -d ' ')
  off=$(od -An -tu4 -j 584 -N4 "$boot" | tr -d ' ')
  len=$(od -An -tu4 -j 588 -N4 "$boot" | tr -d ' ')
  off=$(( (setup + 1) * 512 + off ))
  magic=$(od -An -tx1 -j "$off" -N4 "$boot" | tr -d ' ')
  local un
  case $magic in
    fd377a58) un="xz -dc --single-stream" ;;
    28b52ffd) un="zstd -qdc" ;;
    02214c18) un="lz4 -dc" ;;
    1f8b*) un="gzip -dc" ;;
    *) un= ;;
  esac
  if [ -n "$un" ]; then
    tail -c "+$((off + 1))" "$boot" | head -c "$len" | $un >"$tmp/vmlinux" 2>/dev/null || true
    [ "$(head -c 4 "$tmp/vmlinux" | od -An -tx1 | tr -d ' ')" = 7f454c46 ] || rm -f "$tmp/vmlinux"
  fi
  [ -f "$tmp/vmlinux" ] || cp "$boot" "$tmp/vmlinux"
  rm -rf "$tmp/k/boot" "$tmp/k/usr"
  echo "$kver" >"$tmp/kver"
  make_initrd "$tmp"
  rm -rf "$CACHE/ready"
  mv "$tmp" "$CACHE/ready"
}

make_initrd() {
  local d=$1 kver m f
  kver=$(cat "$d/kver")
  rm -rf "$d/i"; mkdir -p "$d/i"/{bin,dev,proc,sys,m,lower,ov,new}
  cp "$(command -v busybox)" "$d/i/bin/busybox"
  : >"$d/i/m/list"
  for m in $MODS; do
    modprobe -d "$d/k" -S "$kver" --show-depends "$m" | while read -r kind f _; do
      [ "$kind" = insmod ] || continue
      grep -qx "$(basename "$f")" "$d/i/m/list" && continue
      case $f in
        *.xz) xz -dc "$f" >"$d/i/m/$(basename "${f%.xz}")"; f=${f%.xz} ;;
        *.zst) zstd -qdc "$f" >"$d/i/m/$(basename "${f%.zst}")"; f=${f%.zst} ;;
        *) cp "$f" "$d/i/m/" ;;
      esac
      basename "$f" >>"$d/i/m/list"
    done
  done
  cat >"$d/i/init" <<'INIT'
#!/bin/busybox sh
B=/bin/busybox
die() { echo "vm-run-init: $*" >/dev/console; $B sleep 0.2; echo b >/proc/sysrq-trigger; }
$B mount -t devtmpfs dev /dev; $B mount -t proc proc /proc; $B mount -t sysfs sys /sys
while read -r m; do $B insmod /m/$m 2>/dev/null; done </m/list
O=trans=virtio,version=9p2000.L,msize=512000
$B mount -t 9p -o ro,$O,cache=loose,access=any hostroot /lower || die "no 9p root"
$B mount -t tmpfs -o mode=755 ov /ov
$B mkdir /ov/u /ov/w
$B mount -t overlay -o lowerdir=/lower,upperdir=/ov/u,workdir=/ov/w root /new || die "no overlay"
job=$($B sed -n 's/.*vmrun\.job=\([^ ]*\).*/\1/p' /proc/cmdline)
kdir=$($B sed -n 's/.*vmrun\.kdir=\([^ ]*\).*/\1/p' /proc/cmdline)
$B mount -t tmpfs -o mode=755 run /new/run
$B mkdir -p /new/run/vm-run/job /new/run/lock/lvm /new/run/lvm /new/lib/modules
$B cp $B /new/run/vm-run/busybox
$B mount -o bind /lower$job /new/run/vm-run/job || die "no job directory"
$B mount -o bind /lower$kdir/k/lib/modules /new/lib/modules
$B mount -t tmpfs -o mode=1777 tmp /new/tmp
$B mount -o move /dev /new/dev; $B mount -o move /proc /new/proc; $B mount -o move /sys /new/sys
exec $B switch_root /new /run/vm-run/busybox sh /run/vm-run/job/start
INIT
  chmod +x "$d/i/init"
  # Put in place by a rename: another guest may be starting from the old one.
  (cd "$d/i" && find . | cpio -o -H newc --quiet) >"$d/initrd.new"
  mv "$d/initrd.new" "$d/initrd"
  rm -rf "$d/i"
}

t0=$(now)
if [ ! -f "$CACHE/ready/initrd" ] || [ "${VM_RUN_REBUILD:-}" = 1 ]; then
  mkdir -p "$CACHE"
  exec 9>"$CACHE/lock"; flock 9
  if [ ! -f "$CACHE/ready/initrd" ] || [ "${VM_RUN_REBUILD:-}" = 1 ]; then prepare_kernel; fi
  exec 9>&-
elif [ "$0" -nt "$CACHE/ready/initrd" ]; then       # the script changed: new initrd, same kernel
  exec 9>"$CACHE/lock"; flock 9; make_initrd "$CACHE/ready"; exec 9>&-
fi
[ -z "$prepare" ] || exit 0
KDIR=$(realpath "$CACHE/ready")

# ---------------------------------------------------------------- the job
JOB=$(mktemp -d "${TMPDIR:-/tmp}/vm-run.XXXXXX")
qpid=
# shellcheck disable=SC2317 # called by the trap
cleanup() {
  # timeout passes the signal on to QEMU, which ends at once.
  if [ -n "$qpid" ] && kill -TERM "$qpid" 2>/dev/null; then wait "$qpid" 2>/dev/null || true; fi
  rm -rf "$JOB"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ $# -eq 1 ]; then printf '%s\n' "$1" >"$JOB/cmd"
else printf '%q ' "$@" >"$JOB/cmd"; echo >>"$JOB/cmd"; fi
{
  for v in HOME LANG PATH "${envs[@]}"; do [ -z "${!v+x}" ] || printf 'export %s=%q\n' "$v" "${!v}"; done
} >"$JOB/env"
pwd -P >"$JOB/cwd"
: >"$JOB/shares"
: >"$JOB/rc"
[ -z "${VM_RUN_DEBUG:-}" ] || : >"$JOB/debug"
[ -z "$udev" ] || { [ -x /lib/systemd/systemd-udevd ] || die "--udev: no systemd-udevd (package udev)"; : >"$JOB/udev"; }

# Runs as PID 1 in the guest, with the initrd's busybox (starting the host's own tools
# over 9p costs 0.1 s each under TCG); only COMMAND itself uses the host's userland.
cat >"$JOB/start" <<'START'
exec </dev/null >/dev/console 2>&1
B=/run/vm-run/busybox
J=/run/vm-run/job
T() { [ ! -e $J/debug ] || echo "vm-run: $*" >/dev/kmsg; }
T switched
$B mkdir -p /dev/pts /dev/shm
$B mount -t devpts devpts /dev/pts; $B mount -t tmpfs shm /dev/shm
$B ln -sf /proc/self/fd /dev/fd; $B ln -sf fd/0 /dev/stdin; $B ln -sf fd/1 /dev/stdout; $B ln -sf fd/2 /dev/stderr
echo vm-run >/proc/sys/kernel/hostname
$B ip link set lo up
O=trans=virtio,version=9p2000.L,msize=512000
n=0
while read -r s; do
  $B mkdir -p "$s"
  $B mount -t 9p -o rw,$O,cache=mmap,access=any share$n "$s" || echo "vm-run: cannot mount $s"
  n=$((n + 1))
done <$J/shares
T shares
conf='global { use_lvmpolld=0 notify_dbus=0 event_activation=0 }
activation { monitoring=0 }'
if [ -e $J/udev ]; then
  # Not the rules that start lvm autoactivation through systemd: nothing here is systemd.
  $B mkdir -p /run/udev/rules.d; for r in 69-lvm.rules 99-systemd.rules 80-drivers.rules; do : >/run/udev/rules.d/$r; done
  /lib/systemd/systemd-udevd --daemon
  udevadm trigger --action=add --subsystem-match=block --subsystem-match=misc --subsystem-match=mem
  udevadm settle --timeout=60
  T udev
else
  # lvm and dmsetup make the device nodes themselves.
  export DM_DISABLE_UDEV=1
  conf="$conf
activation { udev_sync=0 udev_rules=0 verify_udev_operations=0 }
devices { obtain_device_list_from_udev=0 external_device_info_source=none }"
fi
[ ! -d /etc/lvm ] || echo "$conf" >/etc/lvm/lvmlocal.conf
export LVM_SUPPRESS_FD_WARNINGS=1
. $J/env
[ -b /dev/vda ] && export VM_DISK=/dev/vda
export VM_RUN=1
out= err= ctl= in=
for p in /sys/class/virtio-ports/vport*; do
  read -r name <$p/name
  eval "$name=/dev/\${p##*/}"
done
read -r cwd <$J/cwd
cd "$cwd" 2>/dev/null || cd /
[ -n "$in" ] || in=/dev/null
T command
read -r up _ </proc/uptime
# Through pipes, not straight to the ports: a port opens once, /dev/stdout must reopen.
{ { /bin/bash $J/cmd <$in 2>&3 3>&-; echo $? >/run/vm-run/rc; } | $B cat >$out; } 3>&1 >/dev/null | $B cat >$err
read -r end _ </proc/uptime
T done
echo "$($B cat /run/vm-run/rc) $up $end" >$ctl
$B sync
T synced
echo b >/proc/sysrq-trigger
$B sleep 100
START

# ---------------------------------------------------------------- qemu
if [ "$accel" = auto ]; then
  accel=tcg
  # A /dev/kvm without vmx/svm (a PVM host, say) interprets a stock kernel: slower than TCG.
  if grep -qwE 'vmx|svm' /proc/cpuinfo && [ -w /dev/kvm ]; then accel=kvm; fi
fi
case $accel in
  kvm) acc=kvm; : "${cpu:=host}" "${smp:=2}" ;;
  # Not "max": with erms/fsrm the guest copies by rep movsb, which TCG does byte by byte,
  # and AVX2 and smap/smep cost more than they bring (disk and copies ran 2 to 3 times slower).
  # One processor: with two, shell and LVM work took two to four times the CPU seconds here, and longer.
  tcg) : "${smp:=1}"; acc=tcg,thread=multi,tb-size=512; : "${cpu:=qemu64,+rdrand,+cx16,+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+pclmulqdq}" ;;
  *) die "--accel $accel?" ;;
esac

# Not microvm under TCG: with no HPET or PM timer the kernel has only the PIT to calibrate
# the TSC by, which fails (and the guest hangs) whenever the host is busy.
machine=${VM_RUN_MACHINE:-q35}
case $machine in microvm) bus=device ; mopt=,rtc=on,auto-kernel-cmdline=off ;; *) bus=pci ; mopt=,usb=off,vmport=off,smm=off,sata=off ;; esac
args=(-M "$machine$mopt"
  -accel "$acc" -cpu "$cpu" -smp "$smp" -m "$mem"
  -nodefaults -no-user-config -display none -no-reboot
  -kernel "$KDIR/vmlinux" -initrd "$KDIR/initrd"
  -serial "file:$JOB/console"
  -device "virtio-serial-$bus"
  -fsdev "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"
  -device "virtio-9p-$bus,fsdev=root,mount_tag=hostroot")

port() { # NAME FD
  args+=(-add-fd "fd=$2,set=$2" -chardev "file,id=$1,path=/dev/fdset/$2,append=on"
         -device "virtserialport,chardev=$1,name=$1")
}
# Through cat: QEMU takes the write end of a pipe, but not what a caller may have given us, a socket for instance.
exec 5> >(exec cat)
out_pid=$!
exec 6> >(exec cat >&2)
err_pid=$!
port out 5
port err 6
args+=(-chardev "file,id=ctl,path=$JOB/rc" -device "virtserialport,chardev=ctl,name=ctl")
if [ -n "$usestdin" ]; then
  args+=(-chardev "stdio,id=in,signal=off" -device "virtserialport,chardev=in,name=in")
fi

i=0
for s in "${shares[@]}"; do
  echo "$s" >>"$JOB/shares"
  args+=(-fsdev "local,id=share$i,path=$s,security_model=none,multidevs=remap"
         -device "virtio-9p-$bus,fsdev=share$i,mount_tag=share$i")
  i=$((i + 1))
done

if [ -z "$nodisk" ] && [ ${#disks[@]} = 0 ] && [ ${#diskfiles[@]} = 0 ]; then disks=(4G); fi
i=0
for s in "${disks[@]}"; do truncate -s "$s" "$JOB/disk$i"; diskfiles+=("$JOB/disk$i"); i=$((i + 1)); done
mapfile -t order < <(seq 0 $((${#diskfiles[@]} - 1)))
if [ "$machine" = microvm ]; then mapfile -t order < <(printf '%s\n' "${order[@]}" | tac); fi # mmio slots probe backwards
for i in "${order[@]}"; do
  args+=(-drive "file=${diskfiles[i]},if=none,id=d$i,format=raw,cache=unsafe,discard=unmap"
         -device "virtio-blk-$bus,drive=d$i,serial=scratch$i")
done

# norandmaps: an emulated processor can use its translation of a program again if it lies at the same address; lvs, for
# one, took half the time.
append="console=ttyS0 ${VM_RUN_QUIET-quiet} panic=-1 reboot=t random.trust_cpu=on nokaslr norandmaps mitigations=off tsc=reliable no_timer_check audit=0 cryptomgr.notests rcupdate.rcu_expedited=1 vmrun.job=$JOB vmrun.kdir=$KDIR"

t1=$(now)
# --foreground: it stays in this process group, so that a Ctrl-C reaches it.
timeout --foreground --signal=KILL "$limit" "$QEMU" "${args[@]}" -append "$append" <&0 >"$JOB/qemu.log" 2>&1 &
qpid=$!
ended=0
wait "$qpid" || ended=$?
qpid=
exec 5>&- 6>&-
wait "$out_pid" "$err_pid" || true
timed=''
[ "$ended" != 137 ] || timed=1
t2=$(now)
[ -z "$console" ] || cp "$JOB/console" "$console" 2>/dev/null || true
rc='' began='' ended=''
read -r rc began ended <"$JOB/rc" || true
if [ -n "$trace" ]; then
  echo "vm-run: accel=$accel prepare=$(echo "$t1-$t0" | bc) boot-to-command=${began:-?} command-end=${ended:-?} qemu-wall=$(echo "$t2-$t1" | bc)" >&2
fi
if [ -z "$rc" ]; then
  if [ -n "$timed" ]; then echo "vm-run: timed out after ${limit}s" >&2; rc=124; else rc=125; echo "vm-run: the guest died" >&2; fi
  { sed 's/^/qemu: /' "$JOB/qemu.log" | tail -n 20; tail -n 40 "$JOB/console" | sed 's/^/console: /'; } >&2 2>/dev/null || true
fi
exit "$rc"
