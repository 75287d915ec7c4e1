// Stand-ins for `qvm-check` and `qvm-volume import`, for a guest that has LVM but no Qubes OS. They follow what is known of
// the real ones: the import refuses a volume in use, fills a new volume of its own (`vm-NAME-VOLUME-import`), and makes it
// the VM's only at the exact size and the end of its input; what was there becomes `vm-NAME-VOLUME-EPOCH-back`. Not
// modelled: qubesd, pools of other kinds, revisions_to_keep.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Writes both into `directory`. VMs are the files in `directory/vms`; one that runs holds the word `running`. */
export function installQubesTools(directory: string, vg: string): void {
  mkdirSync(join(directory, "vms"), { recursive: true });
  writeFileSync(
    join(directory, "qvm-check"),
    `#!/bin/sh
running=
for word; do
  case $word in --running) running=1 ;; -*) ;; *) vm=$word ;; esac
done
[ -f "${directory}/vms/$vm" ] || exit 1
[ -z "$running" ] || grep -q running "${directory}/vms/$vm"
`,
    { mode: 0o755 },
  );
  writeFileSync(
    join(directory, "qvm-volume"),
    `#!/bin/sh
[ "$1" = import ] && [ "$4" = - ] || { echo "usage: qvm-volume import --size=N VM:VOLUME -" >&2; exit 2; }
size=\${2#--size=} vm=\${3%%:*} volume=\${3#*:}
grep -q running "${directory}/vms/$vm" && { echo "qvm-volume: error: Cannot import to a volume in use" >&2; exit 1; }
lv=vm-$vm-$volume
lvcreate -q -V "$size"B -T ${vg}/vm-pool -n "$lv-import" >/dev/null 2>&1 || exit 1
dd of=/dev/${vg}/"$lv-import" iflag=fullblock,count_bytes count="$size" bs=64k conv=sparse,notrunc,fsync 2>"${directory}/dd"
if ! grep -q "^$size bytes" "${directory}/dd"; then
  lvremove -q -f ${vg}/"$lv-import" >/dev/null 2>&1
  echo "qvm-volume: error: import of $3 failed: not enough data" >&2
  exit 1
fi
lvrename -q ${vg} "$lv" "$lv-$(date +%s)-back" >/dev/null || exit 1
lvrename -q ${vg} "$lv-import" "$lv" >/dev/null
`,
    { mode: 0o755 },
  );
}
