// Numbers as a person reads them, each with its unit. Absent is a dash, never zero.

export const DASH = "–";

export function num(value: number | null | undefined, places = 1): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const text = value.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places });
  return /^-[0.]+$/.test(text) ? text.slice(1) : text; // a nothing that rounding left below zero
}

/** Three significant places or so: 981, 98.1, 9.81. */
export function brief(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const size = Math.abs(value);
  if (size < 0.005) return "0";
  return num(value, size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

type Steps = readonly (readonly [from: number, unit: string, per: number])[];
const POWER: Steps = [[1, "MW", 1], [1e-3, "kW", 1e3], [0, "W", 1e6]];
const HASHRATE: Steps = [[0.1, "EH/s", 1], [1e-4, "PH/s", 1e3], [0, "TH/s", 1e6]];

/** A value with the unit that suits its size; `like`: the value whose unit is wanted, where two stand side by side. */
function sized(value: number | null | undefined, steps: Steps, like: number | null | undefined, write: (v: number) => string = brief): [text: string, unit: string] {
  const size = Math.abs(like ?? value ?? 0);
  const [, unit, per] = size === 0 ? steps[0]! : steps.find(([from]) => size >= from)!;
  return [value === null || value === undefined ? DASH : write(value * per), unit];
}

/** 98.1 MW, 36.8 kW. */
export const power = (value: number | null | undefined, like?: number | null): [string, string] => sized(value, POWER, like);
/** 46.6 EH/s, 2.09 PH/s. */
export const hashrate = (value: number | null | undefined, like?: number | null): [string, string] => sized(value, HASHRATE, like, (v) => num(v, 2));
export const mw = (value: number | null | undefined): string => (value === null || value === undefined ? DASH : power(value).join(" "));
/** 580 → 521 kW: both in the unit of the larger. */
export function change(before: number, after: number | null): string {
  const like = Math.max(Math.abs(before), Math.abs(after ?? 0));
  return `${power(before, like)[0]} → ${power(after, like).join(" ")}`;
}
export const ehs = (value: number | null | undefined, like?: number | null): string => hashrate(value, like).join(" ");
/** 1.98 of 2.09 PH/s. */
export const ehsOf = (value: number | null | undefined, whole: number): string => `${hashrate(value, whole)[0]} of ${ehs(whole)}`;

export function usd(value: number | null | undefined, places = 2): string {
  return value === null || value === undefined ? DASH : `${num(value, places)}`;
}

/** 1,234,000 -> 1.23 M. */
export function si(value: number | null | undefined): string {
  if (value === null || value === undefined) return DASH;
  const size = Math.abs(value);
  for (const [from, sign] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]] as const) {
    if (size >= from) return `${brief(value / (sign === "k" ? 1e3 : from))} ${sign}`;
  }
  return size >= 100 || Number.isInteger(value) ? num(value, 0) : num(value, 1);
}

export function age(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return "never heard";
  if (seconds < 0) return "ahead";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172800) return `${num(seconds / 3600, 1)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}

const two = (n: number): string => String(n).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** All times on the page are UTC, as in the records. */
export function clock(at: number): string {
  const d = new Date(at * 1000);
  return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`;
}

export function day(at: number): string {
  const d = new Date(at * 1000);
  return `${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]}`;
}

export function moment(at: number, now?: number): string {
  const near = now !== undefined && Math.abs(now - at) < 20 * 3600 && day(now) === day(at);
  return near ? clock(at) : `${day(at)} ${clock(at)}`;
}

export function stamp(at: number): string {
  const d = new Date(at * 1000);
  return d.toISOString().replace("T", " ").replace(/\.000Z$/, " UTC").replace(/Z$/, " UTC");
}

export function words(name: string): string {
  return name.replace(/_/g, " ");
}

export function title(name: string): string {
  return words(name).replace(/\b\w/g, (c) => c.toUpperCase());
}

export const count = (n: number, one: string, many = one + "s"): string => `${num(n, 0)} ${n === 1 ? one : many}`;
