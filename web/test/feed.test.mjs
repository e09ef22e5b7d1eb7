import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { feed } from "../src/data.ts";

test("a page asks anew when something changed, and no more often than it said", () => {
  let now = 0, asked = 0;
  mock.method(performance, "now", () => now);
  feed.overview = { now: 0, speed: 1 };
  const stop = feed.followAtMost(1000, () => asked++);
  const told = () => [...feed["listeners"]].forEach((listener) => listener(feed.overview, new Set(["sites"])));
  told();
  assert.equal(asked, 0);
  now = 1000;
  told();
  told();
  assert.equal(asked, 1);
  now = 1999;
  told();
  assert.equal(asked, 1);
  now = 2000;
  told();
  assert.equal(asked, 2);
  stop();
  now = 9000;
  told();
  assert.equal(asked, 2);
});
