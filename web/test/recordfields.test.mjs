import { strict as assert } from "node:assert";
import { test } from "node:test";
import { columnsOf, csvOf, shown } from "../src/recordfields.ts";

const row = (seq, record, subject = "a") => ({ seq, type: "Sample", at: 0, known_at: 0, source: "s", kind: "measured", subject, key: "k", record: { type: "Sample", at: "2026-01-01T00:00:00Z", known_at: "2026-01-01T00:00:01Z", source: "s", kind: "measured", ...record } });

test("missing, zero and several are told apart", () => {
  assert.equal(shown(null), "–");
  assert.equal(shown(0), "0");
  assert.equal(shown(45529271.73507813), "45,529,271.7");
  assert.equal(shown(0.0000004), "0.0000004");
  assert.equal(shown([]), "none");
  assert.equal(shown([{ a: 1 }, { a: 2 }]), "2 of them");
  assert.equal(shown({ low: 1 }), "low 1");
  assert.equal(shown("2026-11-30T03:10:00Z"), "2026-11-30 03:10:00 UTC");
});

test("columns are the union of the records' own fields, without what says the subject again", () => {
  const rows = [row(1, { site_id: "a", power_w: 1 }), row(2, { site_id: "a", hashrate_hs: 2 })];
  assert.deepEqual(columnsOf(rows), ["site_id", "power_w", "hashrate_hs"]);
  assert.deepEqual(columnsOf(rows, "subject"), ["power_w", "hashrate_hs"]);
});

test("a CSV is exact, quotes what must be and starts no formula", () => {
  const lines = csvOf([row(7, { note: '=1+1, "x"', power_w: 0.1234567890123 }, "@a")]).trim().split("\r\n");
  assert.equal(lines[0], "seq,stream,at,known_at,subject,kind,source,note,power_w");
  assert.equal(lines[1], `7,Sample,2026-01-01T00:00:00Z,2026-01-01T00:00:01Z,'@a,measured,s,"'=1+1, ""x""",0.1234567890123`);
});
