// Builds the page into src/tieline/console/static: hashed files, a document that names them, gzipped twins.
//
// The map is drawn here, once: land and borders in Equal Earth projection as two SVG paths, so that the page
// carries neither an atlas nor a projection library.

import { createRequire } from "node:module";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";
import * as topojson from "topojson-client";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "src", "tieline", "console", "static");
const generated = join(here, "generated");
const require = createRequire(import.meta.url);

// Equal Earth (Savric, Patterson, Jenny 2018); src/projection.ts has the same constants for the sites.
const A = [1.340264, -0.081106, 0.000893, 0.003796];
const M = Math.sqrt(3) / 2;
function project([lon, lat]) {
  const l = (lon * Math.PI) / 180;
  const p = Math.asin(M * Math.sin((lat * Math.PI) / 180));
  const p2 = p * p, p6 = p2 ** 3;
  const x = (l * Math.cos(p)) / (M * (A[0] + 3 * A[1] * p2 + p6 * (7 * A[2] + 9 * A[3] * p2)));
  const y = p * (A[0] + A[1] * p2 + p6 * (A[2] + A[3] * p2));
  return [x * 400, -y * 400];
}

// Points closer than this (in map units; the world is about 2,160 wide) are not told apart on any screen.
const NEAR = 0.55, TINY = 0.8, FINE = 5;

function line(points, closed) {
  const kept = [];
  for (const point of points) {
    const [x, y] = project(point), last = kept[kept.length - 1];
    if (!last || Math.hypot(x - last[0], y - last[1]) > NEAR) kept.push([x, y]);
  }
  if (kept.length < (closed ? 4 : 2)) return "";
  if (closed) {
    let area = 0;
    kept.forEach(([x, y], i) => {
      const [u, v] = kept[(i + 1) % kept.length];
      area += x * v - u * y;
    });
    if (Math.abs(area) / 2 < TINY) return "";
  }
  // Whole steps of a fifth of a unit, each from the one before: a third of the bytes of absolute decimals.
  const fine = kept.map(([x, y]) => [Math.round(x * FINE), Math.round(y * FINE)]);
  const steps = fine.slice(1).map(([x, y], i) => [x - fine[i][0], y - fine[i][1]]);
  const signed = (n) => (n < 0 ? String(n) : ` ${n}`);
  return `M${fine[0][0]}${signed(fine[0][1])}l` + steps.map(([dx, dy]) => signed(dx) + signed(dy)).join("") + (closed ? "z" : "");
}

function mapFile() {
  const world = JSON.parse(readFileSync(require.resolve("world-atlas/countries-50m.json"), "utf8"));
  const states = JSON.parse(readFileSync(require.resolve("us-atlas/states-10m.json"), "utf8"));
  world.objects.countries.geometries = world.objects.countries.geometries.filter((g) => g.properties.name !== "Antarctica");
  const land = topojson.merge(world, world.objects.countries.geometries);
  const inner = topojson.mesh(world, world.objects.countries, (a, b) => a !== b);
  const state = topojson.mesh(states, states.objects.states, (a, b) => a !== b);
  return JSON.stringify({
    land: land.coordinates.flat().map((ring) => line(ring, true)).join(""),
    borders: inner.coordinates.map((l) => line(l, false)).join(""),
    states: state.coordinates.map((l) => line(l, false)).join(""),
  });
}

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
mkdirSync(generated, { recursive: true });
writeFileSync(join(generated, "map.json"), mapFile());

const result = await esbuild.build({
  absWorkingDir: here,
  entryPoints: { main: "src/main.ts", boot: "src/boot.ts", style: "src/style.css" },
  outdir: out,
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  publicPath: "/static/",
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "linked",
  loader: { ".json": "file", ".svg": "file" },
  metafile: true,
  logLevel: "warning",
});

const named = {};
for (const [file, about] of Object.entries(result.metafile.outputs)) {
  if (about.entryPoint) named[about.entryPoint] = "/static/" + file.split("/").pop();
}
const document = readFileSync(join(here, "src", "index.html"), "utf8")
  .replace("%BOOT%", named["src/boot.ts"])
  .replace("%MAIN%", named["src/main.ts"])
  .replace("%STYLE%", named["src/style.css"]);
writeFileSync(join(out, "index.html"), document);

for (const file of readdirSync(out)) {
  if (/\.(js|css|json)$/.test(file)) writeFileSync(join(out, file + ".gz"), gzipSync(readFileSync(join(out, file)), { level: 9 }));
}
const size = (f) => readFileSync(join(out, f)).length;
for (const file of readdirSync(out).filter((f) => f.endsWith(".gz"))) {
  console.log(`${file.slice(0, -3).padEnd(28)} ${(size(file.slice(0, -3)) / 1024).toFixed(0).padStart(5)} kB  ${(size(file) / 1024).toFixed(0).padStart(4)} kB gzipped`);
}
