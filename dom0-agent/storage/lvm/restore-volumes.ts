// RestoreStorage of LVM thin: a new thin volume, or a writable snapshot of one of ours, called VOLUME.restore, which takes
// the volume's name when it is complete.

import { fsyncSync } from "node:fs";
import type { Kept } from "../../state/kept.ts";
import type { RestoreStorage, RestoreTarget, TargetRequest, Unsettled } from "../restore-target.ts";
import { StorageError, type StorageOptions } from "../storage.ts";
import { runAlone } from "./lvm-commands.ts";
import type { LogicalVolume } from "./lvs.ts";
import {
  isLvName,
  isRestoreName,
  isWorkingCopy,
  keptName,
  labelOf,
  nameExcess,
  targetName,
} from "./names.ts";
import { probedBecause } from "./probe-rule.ts";
import { openWritable } from "./restore-device.ts";
import { refuseTooSmallPool } from "./restore-space.ts";
import { carryOutSwap, leftTargets, settleSwap } from "./swap.ts";
import { type Look, lookAt, type LvmSettings, ownerTag, refuseFullPool } from "./volume-group.ts";

type Looker = () => Promise<Look>;

/** LVM tags of what a restore makes and puts aside. */
export function restoreTags(options: StorageOptions): readonly string[] {
  return ["sparsebak", ownerTag(options)];
}

export function lvmRestore(settings: LvmSettings, options: StorageOptions): RestoreStorage {
  const { vg } = settings;
  const look: Looker = async () => lookAt(settings, options);
  // Tidying up must go on after a signal.
  const calmLook: Looker = async () => lookAt(settings, { ...options, signal: new AbortController().signal });
  const tags = restoreTags(options);
  const remove = async (lv: LogicalVolume): Promise<void> => must(["lvremove", "-f", `${vg}/${lv.name}`]);

  const settle = async (): Promise<readonly Unsettled[]> => {
    await settleSwap(look, vg, options.stateDirectory, tags);
    const { halfMade, halfSwapped } = leftTargets([...(await look()).byName.values()], tags);
    for (const lv of halfMade) await remove(lv);
    return halfSwapped.map(({ restored, old, volume }) => ({
      volume,
      why: `a restore of it was cut short, and which step it was at is not known any more: the restored one is ${vg}/${restored}, the old one ${vg}/${old}`,
      hint: `give one of them the name: lvrename ${vg} ${restored} ${volume}, or lvrename ${vg} ${old} ${volume}`,
    }));
  };

  const createTarget = async (request: TargetRequest): Promise<RestoreTarget> => {
    const seen = await look();
    const old = usableOld(seen, request.volume);
    refuseFullPool(seen, options);
    refuseTooSmallPool(seen, request.needs(seen.pool.chunkSize), options);
    const name = targetName(request.volume);
    if (seen.byName.has(name))
      throw new StorageError("unusable", `${request.volume}: ${vg}/${name} exists and is not ours`);
    const base = seen.snapshots.find((each) => each.uuid === request.base?.uuid);
    const size = lvmSize(request.size);
    const what =
      base === undefined
        ? ["-Wn", "-V", size, "-T", `${vg}/${seen.pool.name}`]
        : ["-s", `${vg}/${base.name}`];
    const marks = tags.flatMap((each) => ["--addtag", each]);
    await must(["lvcreate", "-y", "-kn", "-ay", ...what, "-n", name, ...marks]);
    const find = async (): Promise<LogicalVolume> => {
      const found = (await look()).byName.get(name);
      if (found === undefined) throw new StorageError("tool", `make ${vg}/${name}: lvcreate made nothing`);
      return found;
    };
    let lv = await find();
    try {
      if (lv.size < request.size || (base !== undefined && lv.size - request.size >= extentBytes)) {
        await resize(vg, lv, request.size);
        lv = await find();
      }
      const device = openWritable(vg, lv);
      return target(device, lv, old, request, base === undefined && seen.pool.zeroes);
    } catch (error) {
      await remove(lv);
      throw error;
    }
  };

  const target = (
    device: ReturnType<typeof openWritable>,
    lv: LogicalVolume,
    old: LogicalVolume | undefined,
    { volume }: TargetRequest,
    blank: boolean,
  ): RestoreTarget => {
    let published = false;
    return {
      fd: device.fd,
      size: lv.size,
      blank,
      name: `${vg}/${lv.name}`,
      publish: async (keep) => {
        fsyncSync(device.fd);
        device[Symbol.dispose]();
        const now = await look();
        const there = usableOld(now, volume);
        if (there?.uuid !== old?.uuid)
          throw new StorageError("changed", `${volume}: another volume has taken this name meanwhile`);
        let keptAt = Date.now();
        while (now.byName.has(keptName(volume, keptAt))) keptAt += 1000;
        if (there !== undefined) keep({ volume, name: keptName(volume, keptAt), uuid: there.uuid, keptAt });
        // udev looks at what it can see: a volume that no rule covers is left asleep, unless the old one was awake.
        const asleep = !volume.startsWith("vm-") && there?.active !== true;
        if (asleep) await must(["lvchange", "-an", `${vg}/${lv.name}`]);
        const swap = {
          vg,
          volume,
          newUuid: lv.uuid,
          oldUuid: there?.uuid ?? "",
          keptName: keptName(volume, keptAt),
        };
        published = true;
        await carryOutSwap(swap, calmLook, options.stateDirectory, tags);
        return asleep ? [`${volume}: not activated: lvchange -ay ${vg}/${volume}`] : [];
      },
      [Symbol.asyncDispose]: async () => {
        device[Symbol.dispose]();
        if (published) return;
        published = true;
        const left = (await calmLook()).byName.get(lv.name);
        if (left?.uuid === lv.uuid) await remove(left);
      },
    };
  };

  const openInPlace = async (request: TargetRequest): Promise<RestoreTarget> => {
    const { volume, size } = request;
    const seen = await look();
    let lv = usableOld(seen, volume);
    if (lv === undefined) throw new StorageError("gone", `${volume}: there is no such volume in ${vg}`);
    refuseFullPool(seen, options);
    refuseTooSmallPool(seen, request.needs(seen.pool.chunkSize), options);
    if (lv.readOnly) throw new StorageError("unusable", `${volume}: it is read-only`);
    if (lv.size < size || lv.size - size >= extentBytes) {
      await resize(vg, lv, size);
      lv = (await look()).byName.get(volume) ?? lv;
    }
    if (!lv.active) await must(["lvchange", "-ay", "-K", `${vg}/${volume}`]);
    const device = openWritable(vg, lv);
    return {
      fd: device.fd,
      size: lv.size,
      blank: false,
      name: `${vg}/${volume}`,
      publish: async () => {
        fsyncSync(device.fd);
        return [];
      },
      [Symbol.asyncDispose]: async () => device[Symbol.dispose](),
    };
  };

  return {
    settle,
    createTarget,
    openInPlace,
    checkRoom: async (needs) => {
      const seen = await look();
      refuseTooSmallPool(seen, needs(seen.pool.chunkSize), options);
    },
    dropKept: async (kept: Kept) => {
      const { byName } = await look();
      const lv = byName.get(kept.name);
      if (lv === undefined) return "gone";
      if (lv.uuid !== kept.uuid || !isRestoreName(lv.name)) return "unrecognised";
      if (!byName.has(kept.volume)) return "last";
      if (!tags.every((each) => lv.tags.includes(each)))
        throw new StorageError(
          "unusable",
          `remove ${vg}/${lv.name}: it has lost our tags, so it is left alone`,
        );
      await remove(lv);
      return "removed";
    },
  };

  /** The LV that has the volume's name, if it may be replaced. */
  function usableOld(seen: Look, volume: string): LogicalVolume | undefined {
    const unusable = (why: string, hint?: string): StorageError =>
      new StorageError("unusable", `${volume}: ${why}`, hint);
    if (!isLvName(volume) || isWorkingCopy(volume) || isRestoreName(volume) || labelOf(volume) !== undefined)
      throw unusable("that can't be the name of a volume to restore to", "--save-to restores to a file");
    const excess = nameExcess(vg, volume);
    if (excess > 0) throw unusable(`its name is ${excess} characters too long`);
    const probed = probedBecause(volume);
    if (probed !== undefined) throw unusable(probed, "qubes-rpc/install dom0 installs it");
    const lv = seen.byName.get(volume);
    if (lv?.open === true) throw unusable("it is in use", "shut its VM down, or unmount it");
    if (volume.startsWith("vm-") && seen.byName.has(`${volume}-snap`)) {
      throw unusable(
        "its VM runs, or was not shut down properly: its working copy is there",
        "start the VM and shut it down",
      );
    }
    if (lv !== undefined && (lv.thinId === undefined || lv.poolUuid !== seen.pool.uuid))
      throw unusable(`${vg}/${volume} is no thin volume of the pool ${seen.pool.name}`);
    return lv;
  }
}

/** LVM sizes are multiples of the group's extent, 4 MiB unless it was made otherwise: larger by less is not larger. */
const extentBytes: number = 4 * 1024 * 1024;

/** A size in bytes for LVM, which counts in sectors. */
function lvmSize(bytes: number): string {
  return `${Math.ceil(bytes / 512) * 512}B`;
}

/** Newer LVM looks for a file system before it shrinks a volume, and dom0 never probes guest bytes (design section 5);
 *  older LVM never looks and does not know the option. */
async function resize(vg: string, lv: LogicalVolume, size: number): Promise<void> {
  const rest = ["-y", "-f", "-L", lvmSize(size), `${vg}/${lv.name}`];
  const complaint = await runAlone(["lvresize", "--fs", "ignore", ...rest]);
  if (complaint !== undefined) await must(["lvresize", ...rest]);
}

async function must(command: readonly string[]): Promise<void> {
  const complaint = await runAlone(command);
  if (complaint === undefined) return;
  throw new StorageError("tool", `${command.join(" ")}: ${complaint}`);
}
