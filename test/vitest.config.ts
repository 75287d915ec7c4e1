// Three projects, by what they need: `unit` nothing, `e2e` the built programs in dist/, `lab` QEMU guests.
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig, type ViteUserConfig } from "vitest/config";

const root = fileURLToPath(new URL("..", import.meta.url));
const minute = 60_000;
const labMinutes = process.env["SPARSEBAK_LAB_LONG"] === undefined ? 30 : 7 * 60;

const config: ViteUserConfig = defineConfig({
  root,
  cacheDir: "test/.cache/vite",
  test: {
    pool: "forks",
    reporters: ["default", "./test/support/summary-reporter.ts"],
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/e2e/**", "test/lab/**", "test/.cache/**"],
          testTimeout: minute / 2,
          hookTimeout: minute / 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          testTimeout: 5 * minute,
          hookTimeout: 5 * minute,
          sequence: { groupOrder: 1 },
        },
      },
      {
        // A guest has one processor and 2 GiB of memory: one for each of two of the machine's own, and no more.
        extends: true,
        test: {
          name: "lab",
          include: ["test/lab/**/*.test.ts"],
          testTimeout: labMinutes * minute,
          hookTimeout: labMinutes * minute,
          maxWorkers: Math.min(2, availableParallelism()),
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
export default config;
