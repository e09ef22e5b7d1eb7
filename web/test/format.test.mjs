import assert from "node:assert/strict";
import { test } from "node:test";
import { age, change, brief, clock, count, DASH, day, ehs, ehsOf, moment, mw, num, si, stamp } from "../src/format.ts";

test("what is not known is a dash, and zero is zero", () => {
  for (const write of [num, brief, mw, ehs, si]) {
    assert.ok(write(null).startsWith(DASH), write.name);
    assert.ok(write(undefined).startsWith(DASH), write.name);
    assert.ok(!write(0).includes(DASH), write.name);
  }
  assert.equal(num(NaN), DASH);
  assert.equal(num(Infinity), DASH);
  assert.equal(num(-0.001, 2), "0.00");
  assert.equal(num(-0.01, 2), "-0.01");
  assert.equal(age(null), "never heard");
});

test("three places or so, and the unit that suits the size", () => {
  assert.deepEqual([981.4, 98.14, 9.814, 0.001].map(brief), ["981", "98.1", "9.81", "0"]);
  assert.equal(brief(-98.14), "-98.1");
  assert.equal(mw(98.1), "98.1 MW");
  assert.equal(mw(0.0368), "36.8 kW");
  assert.equal(mw(0.0000368), "36.8 W");
  assert.equal(mw(-2), "-2.00 MW");
  assert.equal(ehs(46.6), "46.60 EH/s");
  assert.equal(ehs(0.00209), "2.09 PH/s");
  assert.equal(ehsOf(0.00198, 0.00209), "1.98 of 2.09 PH/s");
  assert.deepEqual([1_234_000, 12_345, 9_999, 5e12, 1.5].map(si), ["1.23 M", "12.3 k", "9,999", "5.00 T", "1.5"]);
});

test("a size on the border of two units takes the larger one", () => {
  assert.equal(mw(1), "1.00 MW");
  assert.equal(mw(0.001), "1.00 kW");
  assert.equal(ehs(0.1), "0.10 EH/s");
});

test("what changes is told in one unit, that of the larger", () => {
  assert.equal(change(0.58, 0.521), "580 → 521 kW");
  assert.equal(change(7.99, 0.3), "7.99 → 0.30 MW");
  assert.equal(change(0, 0.0036), "0 → 3.60 kW");
});

test("moments are UTC, and one of another day says which", () => {
  const at = Date.UTC(2026, 10, 29, 23, 5, 7) / 1000;
  assert.equal(clock(at), "23:05");
  assert.equal(day(at), "29 Nov");
  assert.equal(moment(at, at + 60), "23:05");
  assert.equal(moment(at, at + 3600), "29 Nov 23:05");
  assert.equal(stamp(at), "2026-11-29 23:05:07 UTC");
});

test("ages change their unit, and never say so much that they are wrong", () => {
  assert.deepEqual([-1, 0, 89, 90, 5399, 5400, 172_799, 172_800].map(age),
    ["ahead", "0 s ago", "89 s ago", "2 min ago", "90 min ago", "1.5 h ago", "48.0 h ago", "2 d ago"]);
  assert.equal(count(1, "site"), "1 site");
  assert.equal(count(0, "site"), "0 sites");
  assert.equal(count(2, "proxy", "proxies"), "2 proxies");
});
