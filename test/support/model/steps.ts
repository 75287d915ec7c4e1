// The steps of the model test: commands with arguments that chance chooses, half of those that change an archive with
// a kill -9 of agent or receiver in their middle. Each says what the archives may hold afterwards.

import { expect } from "vitest";
import type { Random } from "../../fuzz/random.ts";
import { treeOf } from "../archive-tree.ts";
import { type ModelSession, type Outcome, sessionsOf } from "./ledger.ts";
import {
  type Destination,
  destinations,
  type Host,
  type Kill,
  type Killable,
  must,
  names,
  type World,
} from "./world.ts";

export interface Step {
  readonly world: World;
  readonly host: Host;
  /** Where the step works, if it works in one place. */
  readonly of: Destination;
  readonly random: Random;
  readonly killed: Kill["who"] | undefined;
  /** Kills so far, and those that met the command before its end. */
  readonly kills: { aimed: number; met: number };
  readonly say: (text: string) => void;
}

type Outcomes = Readonly<Partial<Record<Destination, Outcome>>>;

export const steps = {
  send: async ({ world, host, random, ...step }: Step): Promise<Outcomes> => {
    const there = host.volumes();
    const volumes = random.once(2) ? there : [random.pick(there)];
    const dest = random.once(3) ? "all" : step.of;
    const tags = random.once(4) ? [`t${random.below(3)}`] : [];
    const args = [...(random.once(3) ? ["--tarfile"] : []), ...tags.flatMap((tag) => ["--tag", tag])];
    const certain = await perform({ world, host, random, ...step }, "send", dest, [...args, ...volumes]);
    const digests = await host.digests(volumes);
    const appears = new Map([...digests].map(([name, digest]) => [name, { digest, tags }]));
    const to = dest === "all" ? destinations : [step.of];
    return Object.fromEntries(to.map((each) => [each, { certain, appears }]));
  },

  monitor: async (step: Step): Promise<Outcomes> => {
    const killed = step.killed && "agent";
    await perform({ ...step, killed }, "monitor", undefined, step.host.volumes());
    return {};
  },

  prune: async (step: Step): Promise<Outcomes> => {
    const { world, of, random } = step;
    const ledger = world.ledgers[of];
    const volumes = [...ledger.volumes.values()];
    const free = (sessions: readonly ModelSession[]): readonly ModelSession[] =>
      sessions.slice(0, -1).filter((each) => !each.protected);
    const some = random.pick(volumes);
    const one = free(sessionsOf(ledger, some?.uid ?? ""))[0];
    const going: ModelSession[] = [];
    const args: string[] = [];
    if (one !== undefined && random.once(2)) {
      const listed = await must(world, step.host, "--json", "--dest", of, "list", some.name);
      const name = new RegExp(`"name":"(S_[^"]*)","uid":"${one.uid}"`).exec(listed.stdout)?.[1] ?? "";
      args.push(some.name, "--session", name);
      going.push(one);
    } else {
      const keep = 1 + random.below(2);
      const tag = random.once(2) ? "t1" : undefined;
      args.push("--all", "--keep-last", String(keep), ...(tag === undefined ? [] : ["--keep-tag", tag]));
      for (const { uid } of volumes) {
        const all = sessionsOf(ledger, uid);
        const old = all.slice(0, Math.max(0, all.length - keep));
        const goes = free(all).filter((each) => old.includes(each));
        going.push(...goes.filter((each) => tag === undefined || !each.tags.includes(tag)));
      }
    }
    const certain = await perform(step, "prune", of, args);
    return { [of]: { certain, goes: new Set(going.map((each) => each.uid)) } };
  },

  tag: async (step: Step): Promise<Outcomes> => {
    const { world, of, random } = step;
    const volume = random.pick([...world.ledgers[of].volumes.values()]);
    const session = sessionsOf(world.ledgers[of], volume.uid).at(-1);
    if (session === undefined) return {};
    const tag = `t${random.below(3)}`;
    const change = random.pick(["--protect", "--unprotect", "--remove"]);
    const without = session.tags.filter((each) => each !== tag);
    const added = session.tags.includes(tag) ? session.tags : [...session.tags, tag];
    const mark = {
      tags: change === "--remove" ? without : added,
      protected: change === "--remove" ? session.protected : change === "--protect",
    };
    const certain = await perform(step, "tag", of, [volume.name, tag, change]);
    return { [of]: { certain, marks: new Map([[session.uid, mark]]) } };
  },

  rename: async (step: Step): Promise<Outcomes> => {
    const { world, host, of, random } = step;
    const taken = [...world.ledgers[of].volumes.values()].map((each) => each.name);
    const to = names.find((name) => !taken.includes(name));
    if (to === undefined) return await steps.delete(step);
    const from = random.pick(taken);
    const certain = await perform(step, "rename", of, [from, to]);
    const there = host.volumes();
    if (there.length > 1 && there.includes(from) && !there.includes(to)) await host.rename(from, to);
    return { [of]: { certain, renames: { from, to } } };
  },

  delete: async (step: Step): Promise<Outcomes> => {
    const { world, host, of, random } = step;
    const ledger = world.ledgers[of];
    const volume = random.pick([...ledger.volumes.values()]);
    if (random.once(4)) {
      await must(world, host, "--dest", of, "delete", "--local", volume.name);
      return {};
    }
    const certain = await perform(step, "delete", of, ["--yes", volume.name]);
    return { [of]: { certain, goes: new Set(sessionsOf(ledger, volume.uid).map((each) => each.uid)) } };
  },

  /** A volume that the host does not have yet, and its first session. */
  add: async (step: Step): Promise<Outcomes> => {
    const { host, random, world } = step;
    const name = names.find((each) => !host.volumes().includes(each)) ?? names[0];
    if (!host.volumes().includes(name)) await host.make(name, random);
    await must(world, host, "add", name);
    return steps.send(step);
  },

  check: async ({ world, host, of, random }: Step): Promise<Outcomes> => {
    await must(world, host, "--dest", of, "check", ...(random.once(2) ? ["--read-data"] : []));
    return {};
  },

  /** The archive as it was one state ago: refused, and nothing is done to it. Then the newest one is there again. */
  rollback: async ({ world, host, of, random }: Step): Promise<Outcomes> => {
    const archive = world.place(of);
    await world.shell(`cp -a '${archive}' '${archive}-older'`);
    const volume = random.pick([...world.ledgers[of].volumes.values()]);
    const session = sessionsOf(world.ledgers[of], volume.uid).at(-1);
    if (session === undefined) throw new Error("a volume without sessions was listed");
    const mark = { tags: session.tags, protected: !session.protected };
    await must(world, host, "--dest", of, "tag", volume.name, mark.protected ? "--protect" : "--unprotect");
    await world.shell(`mv '${archive}' '${archive}-newest'; mv '${archive}-older' '${archive}'`);
    await world.look();
    const before = treeOf(world.seen(of));
    for (const args of [
      ["send", host.volumes()[0] ?? ""],
      ["prune", "--all", "--keep-last", "1"],
    ]) {
      const ended = await world.run(host, ["--dest", of, ...args]);
      expect(ended, `an older archive: ${args.join(" ")}: ${ended.stderr}`).toMatchObject({ code: 5 });
    }
    await world.look();
    expect(treeOf(world.seen(of))).toEqual(before);
    await world.shell(`rm -r '${archive}'; mv '${archive}-newest' '${archive}'`);
    return { [of]: { certain: true, marks: new Map([[session.uid, mark]]) } };
  },
} as const;

export type Kind = keyof typeof steps;

/** Runs the command, or has it or its receiver killed on its way. True when it has done all that it was to do. */
async function perform(
  { world, host, random, killed, kills, say }: Step,
  command: Killable,
  dest: string | undefined,
  args: readonly string[],
): Promise<boolean> {
  const all = [...(dest === undefined ? [] : ["--dest", dest]), command, ...args];
  const times = command === "send" && dest === "all" ? destinations.length : 1;
  const at = 1 + random.below(killed === undefined ? 1 : times * world.things[killed][command]);
  say(`${all.join(" ")}${killed === undefined ? "" : `, ${killed} killed at ${at}`}`);
  if (killed === undefined) {
    await must(world, host, ...all);
    return true;
  }
  const ended = await world.run(host, all, { who: killed, at });
  say(`  ended with ${ended.signal ?? ended.code}`);
  kills.aimed++;
  if (ended.code !== 0) kills.met++;
  if (killed === "agent" && ended.signal === "SIGKILL") return false;
  expect(killed === "agent" ? [0] : [0, 3, 4], `${all.join(" ")}: ${ended.stderr}`).toContain(ended.code);
  return ended.code === 0;
}
