import assert from "node:assert/strict";
import test from "node:test";
import { beside, local, zoneOf } from "../src/times";

const AT = Date.UTC(2026, 0, 15, 1, 30) / 1000;

test("a clock on a wall, with its day where that is another one, and nothing where it is UTC", () => {
  assert.equal(local(AT, "America/Chicago"), "Wed 19:30 GMT-6");
  assert.equal(local(AT, "Europe/Paris"), "02:30 CET");
  assert.equal(local(AT, "UTC"), "");
  assert.equal(local(AT, "Etc/UTC"), "");
});

test("a page of a site tells the site's clock until it is left", () => {
  zoneOf("America/Chicago");
  assert.equal(beside(AT), " (Wed 19:30 GMT-6)");
  zoneOf("UTC");
  assert.equal(beside(AT), "");
  zoneOf(null);
});
