// The steps of the model test: commands with arguments that chance chooses, some with a kill -9 of agent or receiver in their
// middle (deck.ts). Each says what the archives may hold afterwards. A step is taken where it does something.

import { expect } from "vitest";
import type { Random } from "../../fuzz/random.ts";
import { treeOf } from "../archive-tree.ts";
import { freeSessionsOf, type ModelSession, newestOf, type Outcome, sessionsOf } from "./ledger.ts";
import {
  type Destination,
  destinations,
  type Host,
  type Kill,
  type Killable,
  must,
  names,
  tags,
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
    const tagged = random.once(4) ? [random.pick(tags)] : [];
    const args = [...(random.once(3) ? ["--tarfile"] : []), ...tagged.flatMap((tag) => ["--tag", tag])];
    const certain = await perform({ world, host, random, ...step }, "send", dest, [...args, ...volumes]);
    const digests = await host.digests(volumes);
    const appears = new Map([...digests].map(([name, digest]) => [name, { digest, tags: tagged }]));
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
    const free = (uid: string): readonly ModelSession[] => freeSessionsOf(ledger, uid);
    const volumes = [...ledger.volumes.values()];
    const some = random.pick(volumes.filter(({ uid }) => free(uid).length > 0));
    const [one] = free(some.uid);
    if (one !== undefined && random.once(2)) {
      const listed = await must(world, step.host, "--json", "--dest", of, "list", some.name);
      const name = new RegExp(`"name":"(S_[^"]*)","uid":"${one.uid}"`).exec(listed.stdout)?.[1] ?? "";
      const certain = await perform(step, "prune", of, [some.name, "--session", name]);
      return { [of]: { certain, goes: new Set([one.uid]) } };
    }
    const goingBy = (keep: number, tag?: string): readonly string[] =>
      volumes.flatMap(({ uid }) => {
        const old = sessionsOf(ledger, uid).slice(0, -keep);
        return free(uid)
          .filter((each) => old.includes(each) && (tag === undefined || !each.tags.includes(tag)))
          .map((each) => each.uid);
      });
    const drawn = [1 + random.below(2), random.once(2) ? "t1" : undefined] as const;
    // What was drawn, unless nothing goes by that.
    const [keep, tag] = goingBy(...drawn).length > 0 ? drawn : ([1, undefined] as const);
    const args = ["--keep-last", String(keep), ...(tag === undefined ? [] : ["--keep-tag", tag])];
    const certain = await perform(step, "prune", of, ["--all", ...args]);
    return { [of]: { certain, goes: new Set(goingBy(keep, tag)) } };
  },

  /** Sets a tag that the newest session of some volume does not have. */
  tag: async (step: Step): Promise<Outcomes> => {
    const { world, of, random } = step;
    const lacking = (each: ModelSession): string[] => tags.filter((tag) => !each.tags.includes(tag));
    const session = random.pick(newestOf(world.ledgers[of]).filter((each) => lacking(each).length > 0));
    const tag = random.pick(lacking(session));
    const change = random.pick(["--protect", "--unprotect"]);
    const mark = { tags: [...session.tags, tag], protected: change === "--protect" };
    return await markNewest(step, session, mark, [tag, change]);
  },

  untag: async (step: Step): Promise<Outcomes> => {
    const { world, of, random } = step;
    const session = random.pick(newestOf(world.ledgers[of]).filter((each) => each.tags.length > 0));
    const tag = random.pick(session.tags);
    const mark = { tags: session.tags.filter((each) => each !== tag), protected: session.protected };
    return await markNewest(step, session, mark, [tag, "--remove"]);
  },

  rename: async (step: Step): Promise<Outcomes> => {
    const { world, host, of, random } = step;
    const taken = [...world.ledgers[of].volumes.values()].map((each) => each.name);
    const to = random.pick(names.filter((name) => !taken.includes(name)));
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
    const session = random.pick(newestOf(world.ledgers[of]));
    const name = world.ledgers[of].volumes.get(session.volume)?.name ?? "";
    const mark = { tags: session.tags, protected: !session.protected };
    await must(world, host, "--dest", of, "tag", name, mark.protected ? "--protect" : "--unprotect");
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

/** Has `tag` change what the newest session of a volume is marked with. */
async function markNewest(
  step: Step,
  { volume, uid }: ModelSession,
  mark: Pick<ModelSession, "tags" | "protected">,
  args: readonly string[],
): Promise<Outcomes> {
  const name = step.world.ledgers[step.of].volumes.get(volume)?.name ?? "";
  const certain = await perform(step, "tag", step.of, [name, ...args]);
  return { [step.of]: { certain, marks: new Map([[uid, mark]]) } };
}

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
