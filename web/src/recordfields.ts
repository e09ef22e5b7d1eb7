// A record's own fields in words one can read: what a table of records shows, and what stands above a record's JSON.

import { DASH, num, stamp } from "./format";

export interface Stored {
  seq: number; type: string; at: number; known_at: number; source: string; kind: string; subject: string; key: string;
  record: Record<string, unknown>;
}

// Every record has these; lists show them in columns of their own.
const COMMON = new Set(["type", "at", "known_at", "source", "kind"]);
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

// A watt's thousandth helps nobody read; the JSON has what was written.
const digits = (value: number): Intl.NumberFormatOptions => (Math.abs(value) >= 1000 ? { maximumFractionDigits: 1 } : { maximumSignificantDigits: 7 });

/** One value: numbers with separators, times in UTC, what is made of several by how many it has. */
export function shown(value: unknown): string {
  if (value === null || value === undefined) return DASH;
  if (typeof value === "number") return Number.isInteger(value) ? num(value, 0) : value.toLocaleString("en-US", digits(value));
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.every((one) => typeof one !== "object") ? value.map(shown).join(", ") || "none" : `${value.length} of them`;
  if (typeof value === "object") {
    const pairs = Object.entries(value as Record<string, unknown>);
    return pairs.every(([, one]) => one === null || typeof one !== "object") ? pairs.map(([name, one]) => `${name} ${shown(one)}`).join(", ") || "none" : `${pairs.length} of them`;
  }
  const text = String(value);
  return TIME.test(text) ? stamp(Date.parse(text) / 1000) : text;
}

/** Its own fields, in its own order: name and value. */
export const fieldsOf = (r: Stored): [string, unknown][] => Object.entries(r.record).filter(([name]) => !COMMON.has(name));

/** The fields that any of these records has, in the order in which the records name them; `but` what only says again
 * whom a record is about. */
export function columnsOf(records: Stored[], but: "subject" | null = null): string[] {
  const names = new Set<string>();
  for (const r of records) for (const [name] of fieldsOf(r)) names.add(name);
  return [...names].filter((name) => but === null || records.some((r) => r.record[name] !== r.subject));
}

const cell = (text: string): string => (/[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
// A spreadsheet takes a text that begins so for a formula.
const plain = (text: string): string => (/^[=+@\t\r]|^-(?!\d)/.test(text) ? `'${text}` : text);

/** Comma-separated, every field as the record has it, times as ISO 8601. */
export function csvOf(records: Stored[]): string {
  const columns = columnsOf(records);
  const value = (one: unknown): string => (one === null || one === undefined ? "" : typeof one === "string" ? plain(one) : typeof one === "object" ? JSON.stringify(one) : String(one));
  const head = ["seq", "stream", "at", "known_at", "subject", "kind", "source", ...columns];
  const rows = records.map((r) => [String(r.seq), r.type, value(r.record["at"]), value(r.record["known_at"]), plain(r.subject), r.kind, plain(r.source), ...columns.map((name) => value(r.record[name]))]);
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
