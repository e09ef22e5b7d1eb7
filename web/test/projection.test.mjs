import assert from "node:assert/strict";
import { test } from "node:test";
import { project } from "../src/projection.ts";

// Equal Earth as published (Savric, Patterson, Jenny 2018): a whole turn is 2 * 2.70663 wide, a pole at 1.31737.
test("the projection is Equal Earth's", () => {
  const near = (found, wanted) => found.forEach((one, i) => assert.ok(Math.abs(one - wanted[i]) < 0.01, `${found} is not ${wanted}`));
  near(project(0, 0), [0, 0]);
  near(project(180, 0), [1082.65, 0]);
  near(project(0, 90), [0, -526.95]);
  near(project(-180, 0), [-1082.65, 0]);
});

test("south is below, east is right, and areas are kept", () => {
  const area = (lon, lat, d) => {
    const [a, b, c, e] = [[lon, lat], [lon + d, lat], [lon + d, lat + d], [lon, lat + d]].map(([x, y]) => project(x, y));
    return Math.abs((a[0] - c[0]) * (b[1] - e[1]) - (b[0] - e[0]) * (a[1] - c[1])) / 2;
  };
  const sphere = (lat, d) => Math.sin(((lat + d) * Math.PI) / 180) - Math.sin((lat * Math.PI) / 180);
  const ratio = (lon, lat) => area(lon, lat, 0.1) / sphere(lat, 0.1);
  for (const [lon, lat] of [[100, 10], [-97, 31], [20, 60], [170, -45], [0, 80]]) {
    assert.ok(Math.abs(ratio(lon, lat) / ratio(0, 0) - 1) < 2e-3, `${lon}, ${lat}`);
  }
});
