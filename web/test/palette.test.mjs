import assert from "node:assert/strict";
import { test } from "node:test";
import { best, score } from "../src/palette.ts";

const hits = ["Overview", "Delta Slough", "Sugar Maple", "Old Delta"].map((name) => ({ name, about: "site", href: "/" }));

test("every word has to be there, and a beginning counts more", () => {
  assert.equal(score("Delta Slough", "slough delta") > 0, true);
  assert.equal(score("Delta Slough", "delta x"), 0);
  assert.ok(score("Delta Slough", "del") > score("Old Delta", "del"));
  assert.ok(score("Old Delta", "del") > score("Modeldom", "del"));
});

test("the best first, as many as fit, and all of them where nothing is asked", () => {
  assert.deepEqual(best(hits, "delta").map((hit) => hit.name), ["Delta Slough", "Old Delta"]);
  assert.equal(best(hits, "site", 2).length, 2);
  assert.equal(best(hits, " ").length, 4);
  assert.equal(best(hits, "nowhere").length, 0);
});
