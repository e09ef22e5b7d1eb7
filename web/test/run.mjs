// Tests of what the page computes, without a browser: bundled as the page is, run by Node's own runner.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "generated", "test");
const tests = readdirSync(here).filter((f) => f.endsWith(".test.mjs"));
await esbuild.build({
  entryPoints: tests.map((f) => join(here, f)), outdir: out, outExtension: { ".js": ".mjs" }, bundle: true, format: "esm", platform: "node", target: "es2022",
  loader: { ".json": "file", ".svg": "file" }, logLevel: "warning",
});
const done = spawnSync(process.execPath, ["--test", ...tests.map((f) => join(out, f))], { stdio: "inherit" });
process.exit(done.status ?? 1);
